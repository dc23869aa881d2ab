// Programs for handlers.rs: signals that come while the program is in io_uring_enter. Each case exits with 0 if handlers ran,
// masks stood and calls ended as they do in the kernel. The call site is inline and is made a function call at once.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SETUP = 425, ENTER = 426, GETEVENTS = 1, NOP = 0, READV = 1, READ = 22 };

#define CHECK(condition) do { if (!(condition)) { \
	fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); _exit(1); } } while (0)

__attribute__((noinline)) static long enter(long fd, long submit, long complete, long flags)
{
	register long r10 __asm__("r10") = flags, r8 __asm__("r8") = 0, r9 __asm__("r9") = 0;
	long result;
	__asm__ volatile("syscall" : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
			 : "a"(ENTER), "D"(fd), "S"(submit), "d"(complete) : "rcx", "r11", "memory");
	return result;
}

struct ring {
	int fd;
	unsigned entries;
	_Atomic unsigned *head, *tail, *cq_head, *cq_tail;
	unsigned *array, *flags;
	unsigned char *sqes, *cqes;
};

static int make(struct ring *ring, unsigned entries)
{
	uint32_t params[30] = { 0 };
	ring->fd = syscall(SETUP, entries, params);
	CHECK(ring->fd >= 0);
	size_t size = params[25] + params[1] * 16 > params[16] + params[0] * 4 ? params[25] + params[1] * 16
									     : params[16] + params[0] * 4;
	unsigned char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	ring->sqes = mmap(NULL, params[0] * 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0x10000000);
	CHECK(shared != MAP_FAILED && ring->sqes != MAP_FAILED);
	ring->entries = params[0];
	ring->head = (void *)(shared + params[10]);
	ring->tail = (void *)(shared + params[11]);
	ring->array = (void *)(shared + params[16]);
	ring->cq_head = (void *)(shared + params[20]);
	ring->cq_tail = (void *)(shared + params[21]);
	ring->cqes = shared + params[25];
	return 0;
}

static void queue(struct ring *ring, int opcode)
{
	unsigned tail = atomic_load(ring->tail), index = tail & (ring->entries - 1);
	memset(ring->sqes + 64 * index, 0, 64);
	ring->sqes[64 * index] = opcode;
	ring->array[index] = index;
	atomic_store(ring->tail, tail + 1);
}

static unsigned reap(struct ring *ring)
{
	unsigned count = atomic_load(ring->cq_tail) - atomic_load(ring->cq_head);
	atomic_fetch_add(ring->cq_head, count);
	return count;
}

// A handler submits to the ring that it interrupts somebody at.
static struct ring shared;
static volatile unsigned long from_handler;
static volatile sig_atomic_t busy;

static void submits(int signal, siginfo_t *info, void *context)
{
	CHECK(signal == SIGALRM && info->si_signo == SIGALRM && context);
	// The program's own ends of the ring belong to whom it interrupts.
	if (busy)
		CHECK(enter(shared.fd, 0, 0, GETEVENTS) == 0);
	else
		CHECK(enter(shared.fd, 0, 0, 0) == 0);
	from_handler++;
}

static int under_alarms(void)
{
	make(&shared, 8);
	struct itimerval often = { { 0, 100 }, { 0, 100 } }, never = { { 0, 0 }, { 0, 0 } };
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	unsigned long done = 0;
	for (int count = 0; count < 2000000 && from_handler < 500; count++) {
		busy = 1;
		queue(&shared, NOP);
		long result;
		while ((result = enter(shared.fd, 1, 1, GETEVENTS)) == -EINTR)
			;
		CHECK(result == 1);
		busy = 0;
		done += reap(&shared);
		CHECK(done == (unsigned long)count + 1);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(from_handler >= 500);
	sigset_t mask;
	CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && !sigismember(&mask, SIGALRM) && !sigismember(&mask, SIGTERM));
	return 0;
}

static int case_submits(void)
{
	struct sigaction action = { .sa_sigaction = submits, .sa_flags = SA_SIGINFO | SA_RESTART }, now;
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(sigaction(SIGALRM, NULL, &now) == 0 && now.sa_sigaction == submits);
	CHECK((now.sa_flags & ~0x04000000) == (int)action.sa_flags);
	return under_alarms();
}

// A handler that does not come back.
static sigjmp_buf back;

static void jumps(int signal)
{
	(void)signal;
	siglongjmp(back, 1);
}

static int case_jumps(void)
{
	make(&shared, 8);
	CHECK(signal(SIGALRM, jumps) != SIG_ERR);
	struct itimerval once = { { 0, 0 }, { 0, 300 } };
	for (volatile int count = 0; count < 300; count++) {
		if (sigsetjmp(back, 1) == 0) {
			CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
			// Every other time the signal comes while it waits.
			for (;;)
				enter(shared.fd, 0, count % 2, GETEVENTS);
		}
	}
	queue(&shared, NOP);
	CHECK(enter(shared.fd, 1, 1, GETEVENTS) == 1 && reap(&shared) == 1);
	// Nobody waits any more: what becomes ready is served though the program looks at the ring only.
	int ends[2];
	char byte;
	CHECK(pipe(ends) == 0);
	queue(&shared, READ);
	unsigned char *sqe = shared.sqes + 64 * ((atomic_load(shared.tail) - 1) & (shared.entries - 1));
	*(int *)(sqe + 4) = ends[0];
	*(uint64_t *)(sqe + 16) = (uint64_t)&byte;
	sqe[24] = 1;
	CHECK(enter(shared.fd, 1, 0, 0) == 1);
	CHECK(write(ends[1], "x", 1) == 1);
	for (int wait = 0; wait < 2000 && atomic_load(shared.cq_tail) == atomic_load(shared.cq_head); wait++)
		usleep(1000);
	CHECK(reap(&shared) == 1 && byte == 'x');
	return 0;
}

static volatile sig_atomic_t interrupted;

static void counts(int signal)
{
	(void)signal;
	interrupted++;
}

static void *interrupts(void *thread)
{
	// On a busy machine several may come together and count as one.
	for (int count = 0; count < 2000 && interrupted < 30; count++) {
		usleep(2000);
		pthread_kill(*(pthread_t *)thread, SIGUSR2);
		usleep(2000);
		kill(getpid(), SIGUSR2);
	}
	return NULL;
}

static void *waits(void *unused)
{
	int times = 0;
	struct ring ring;
	make(&ring, 8);
	while (interrupted < 30) {
		long result = enter(ring.fd, 0, 1, GETEVENTS);
		CHECK(result == -EINTR);
		times++;
	}
	CHECK(times > 0);
	return unused;
}

// A wait ends with EINTR, on the main thread and on another one, and the handler has run.
static int case_interrupted(void)
{
	struct sigaction action = { .sa_handler = counts, .sa_flags = SA_RESTART };
	CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
	pthread_t self = pthread_self(), other, waiter;
	CHECK(pthread_create(&other, NULL, interrupts, &self) == 0);
	waits(NULL);
	CHECK(pthread_join(other, NULL) == 0);
	interrupted = 0;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(pthread_create(&waiter, NULL, waits, NULL) == 0);
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	CHECK(pthread_create(&other, NULL, interrupts, &waiter) == 0);
	CHECK(pthread_join(waiter, NULL) == 0 && pthread_join(other, NULL) == 0);
	return 0;
}

// Two signals at once: the kernel starts one handler before the first instruction of the other.
static volatile sig_atomic_t first, second, is_over;

static void takes_first(int signal)
{
	(void)signal;
	first++;
}

static void takes_second(int signal)
{
	(void)signal;
	second++;
}

static void *sends_both(void *thread)
{
	for (int count = 0; count < 3000; count++) {
		int first_before = first, second_before = second;
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		pthread_kill(*(pthread_t *)thread, SIGUSR2);
		for (int wait = 0; wait < 2000 && (first == first_before || second == second_before); wait++)
			usleep(wait < 100 ? 10 : 1000);
		if (first == first_before || second == second_before)
			break;
	}
	is_over = 1;
	return NULL;
}

static int case_together(void)
{
	pthread_t self = pthread_self(), other;
	sigset_t mask;
	make(&shared, 8);
	CHECK(signal(SIGUSR1, takes_first) != SIG_ERR && signal(SIGUSR2, takes_second) != SIG_ERR);
	CHECK(pthread_create(&other, NULL, sends_both, &self) == 0);
	while (!is_over) {
		for (int each = 0; each < 8; each++)
			queue(&shared, NOP);
		long result = enter(shared.fd, 8, 8, GETEVENTS);
		CHECK(result == 8 || result == -EINTR);
		reap(&shared);
	}
	CHECK(pthread_join(other, NULL) == 0);
	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0 && !sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2));
	CHECK(first == 3000 && second == 3000);
	return 0;
}

// Once only: the default action is back when the handler runs.
static int case_once(void)
{
	struct sigaction action = { .sa_handler = counts, .sa_flags = SA_RESETHAND }, now;
	CHECK(sigaction(SIGUSR2, &action, NULL) == 0 && raise(SIGUSR2) == 0 && interrupted == 1);
	CHECK(sigaction(SIGUSR2, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
	return 0;
}

// What comes with a signal, and the mask and the stack that its handler has.
static volatile int values, nested;
static char other_stack[65536];

static void takes(int signal, siginfo_t *info, void *context)
{
	sigset_t mask;
	char here;
	CHECK(signal == SIGRTMIN + 1 && info->si_code == SI_QUEUE && info->si_value.sival_int == values && context);
	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
	CHECK(sigismember(&mask, SIGRTMIN + 1) && sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2));
	CHECK(&here > other_stack && &here < other_stack + sizeof other_stack);
	values++;
	raise(SIGUSR2);
}

static void nests(int signal)
{
	(void)signal;
	nested++;
}

static void *queues(void *unused)
{
	for (int count = 0; count < 50; count++) {
		usleep(300);
		CHECK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = count }) == 0);
	}
	return unused;
}

static int case_information(void)
{
	struct sigaction action = { .sa_sigaction = takes, .sa_flags = SA_SIGINFO | SA_ONSTACK }, now;
	stack_t stack = { .ss_sp = other_stack, .ss_size = sizeof other_stack };
	sigset_t set;
	sigaddset(&action.sa_mask, SIGUSR1);
	make(&shared, 8);
	CHECK(sigaltstack(&stack, NULL) == 0 && sigaction(SIGRTMIN + 1, &action, NULL) == 0);
	CHECK(signal(SIGUSR2, nests) == SIG_DFL && signal(SIGUSR2, nests) == nests);
	CHECK(sigaction(SIGRTMIN + 1, NULL, &now) == 0 && now.sa_sigaction == takes);
	CHECK(sigismember(&now.sa_mask, SIGUSR1) && !sigismember(&now.sa_mask, SIGUSR2));
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	pthread_t thread;
	// The other thread has it blocked, so that all of them come here.
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	CHECK(pthread_create(&thread, NULL, queues, NULL) == 0);
	CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
	while (values < 50) {
		queue(&shared, NOP);
		long result = enter(shared.fd, 1, 1, GETEVENTS);
		CHECK(result == 1 || result == -EINTR);
		reap(&shared);
	}
	CHECK(pthread_join(thread, NULL) == 0 && nested == 50);
	return 0;
}

// Signals that the program has blocked stay so in the engine, and it waits through them.
static int case_blocked(void)
{
	struct sigaction action = { .sa_handler = counts };
	sigset_t all, before, now;
	make(&shared, 8);
	CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
	sigfillset(&all);
	CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0 && !sigismember(&before, SIGSEGV));
	CHECK(raise(SIGUSR2) == 0);
	for (int count = 0; count < 20; count++) {
		queue(&shared, NOP);
		CHECK(enter(shared.fd, 1, 1, GETEVENTS) == 1 && reap(&shared) == 1 && interrupted == 0);
	}
	// A bad pointer does not kill it, though it has blocked the signal.
	queue(&shared, READV);
	unsigned char *sqe = shared.sqes + 64 * ((atomic_load(shared.tail) - 1) & (shared.entries - 1));
	*(uint64_t *)(sqe + 16) = 8;
	sqe[24] = 1;
	CHECK(enter(shared.fd, 1, 1, GETEVENTS) == 1);
	CHECK(*(int *)(shared.cqes + 16 * (atomic_load(shared.cq_head) & (2 * shared.entries - 1)) + 8) == -EFAULT);
	CHECK(reap(&shared) == 1);
	CHECK(pthread_sigmask(SIG_SETMASK, &before, &now) == 0);
	CHECK(sigismember(&now, SIGSEGV) && sigismember(&now, SIGSYS) && sigismember(&now, SIGUSR2));
	CHECK(interrupted == 1);
	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0 && !sigismember(&now, SIGSEGV) && !sigismember(&now, SIGUSR2));
	return 0;
}

// A fault of the program whose signal it has blocked kills it, handler or not.
static void survives(int signal)
{
	(void)signal;
	_exit(0);
}

static int case_dies_of_blocked_fault(void)
{
	sigset_t set;
	CHECK(signal(SIGSEGV, survives) != SIG_ERR);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	*(volatile int *)8 = 1;
	return 0;
}

extern void raw_return(void);
__asm__(".text\nraw_return: mov $15,%eax\nsyscall\n");

// The old functions, which the C library does by itself.
static int case_old_functions(void)
{
	CHECK(sigset(SIGUSR2, counts) == SIG_DFL && sigset(SIGUSR2, SIG_HOLD) == counts);
	CHECK(raise(SIGUSR2) == 0 && interrupted == 0);
	CHECK(sigset(SIGUSR2, counts) == SIG_HOLD && interrupted == 1);
	CHECK(raise(SIGUSR2) == 0 && interrupted == 2);
	CHECK(sysv_signal(SIGUSR1, counts) == SIG_DFL && raise(SIGUSR1) == 0 && interrupted == 3);
	CHECK(signal(SIGUSR1, SIG_IGN) == SIG_DFL && raise(SIGUSR1) == 0 && interrupted == 3);
	CHECK(signal(SIGKILL, counts) == SIG_ERR && errno == EINVAL);
	uint64_t action[4] = { (uint64_t)counts, 0x04000000, (uint64_t)raw_return, 0 }, old[4];
	CHECK(syscall(SYS_rt_sigaction, SIGUSR2, NULL, old, 8) == 0 && old[0] == (uint64_t)counts);
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, action, old, 8) == 0 && old[0] == (uint64_t)SIG_IGN);
	CHECK(raise(SIGUSR1) == 0 && interrupted == 4);
	return 0;
}

// What a child sets does not concern its parent, though it borrows its memory.
static int case_borrowed(void)
{
	CHECK(signal(SIGUSR2, counts) == SIG_DFL);
	pid_t child = vfork();
	if (child == 0) {
		signal(SIGUSR2, SIG_DFL);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(raise(SIGUSR2) == 0 && interrupted == 1);
	CHECK(signal(SIGUSR2, SIG_DFL) == counts);
	return 0;
}

// A site that a handler set inline goes around is safe all the same.
static void raw(int signal, siginfo_t *info, void *context)
{
	submits(signal, info, context);
}

static int case_inline_handler(void)
{
	uint64_t action[4] = { (uint64_t)raw, SA_SIGINFO | SA_RESTART | 0x04000000, (uint64_t)raw_return, 0 };
	long result;
	register long r10 __asm__("r10") = 8;
	__asm__ volatile("syscall" : "=a"(result), "+r"(r10)
			 : "a"(SYS_rt_sigaction), "D"((long)SIGALRM), "S"(action), "d"(0l) : "rcx", "r11", "memory");
	CHECK(result == 0);
	return under_alarms();
}

int main(int count, char **arguments)
{
#define CASE(name) { #name, case_##name }
	static const struct { const char *name; int (*run)(void); } cases[] = {
		CASE(submits), CASE(jumps), CASE(together), CASE(interrupted), CASE(once), CASE(information), CASE(blocked),
		CASE(dies_of_blocked_fault), CASE(old_functions), CASE(borrowed), CASE(inline_handler),
	};
	for (size_t index = 0; count > 1 && index < sizeof cases / sizeof *cases; index++)
		if (strcmp(cases[index].name, arguments[1]) == 0)
			return cases[index].run();
	fprintf(stderr, "no such case\n");
	return 2;
}
