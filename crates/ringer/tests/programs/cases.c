// Programs for intercept.rs: each case does what real programs do around io_uring, and exits with 0 if all of it
// went as it would with io_uring in the kernel. Kernel io_uring is blocked with EPERM while they run, so that any
// other result of io_uring_setup comes from the engine.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct params { uint32_t words[30]; };
enum { SETUP = 425, ENTER = 426, REGISTER = 427 };

#define CHECK(condition) do { if (!(condition)) { \
	fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); _exit(1); } } while (0)

// A system call as liburing makes it: not through the C library. Returns a negative errno.
static long inline_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall" : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
			 : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static long setup(unsigned entries, struct params *params)
{
	memset(params, 0, sizeof *params);
	return inline_call(SETUP, entries, (long)params, 0, 0, 0, 0);
}

// Whether the engine answers. No entries is EINVAL; while nothing is behind the calls, ENOSYS. Never the kernel's EPERM.
static int engine_answers(void)
{
	struct params params;
	errno = 77;
	long result = setup(0, &params);
	return errno == 77 && (result == -EINVAL || result == -ENOSYS);
}

static int wait_for(pid_t pid)
{
	int status = -1;
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

static int calls(void)
{
	struct params params;
	CHECK(engine_answers());
	errno = 77;
	long result = inline_call(ENTER, -1, 0, 0, 0, 0, 0);
	CHECK(result == -EBADF || result == -ENOSYS);
	result = inline_call(REGISTER, -1, 0, 0, 0, 0, 0);
	CHECK(result < 0 && result != -EPERM);
	CHECK(errno == 77);
	CHECK(syscall(SETUP, 0, &params) == -1 && (errno == EINVAL || errno == ENOSYS));
	CHECK(syscall(SYS_getpid) == getpid());
	CHECK(syscall(SYS_close, -1) == -1 && errno == EBADF);
	return 0;
}

static void *answers_in_thread(void *unused)
{
	return engine_answers() ? unused : NULL;
}

static int blocked(void)
{
	sigset_t all, before;
	sigfillset(&all);
	CHECK(sigprocmask(SIG_BLOCK, &all, &before) == 0);
	CHECK(!sigismember(&before, SIGSYS));
	CHECK(engine_answers());
	CHECK(sigprocmask(SIG_SETMASK, NULL, &before) == 0);
	CHECK(sigismember(&before, SIGSYS) && sigismember(&before, SIGTERM));
	pthread_t thread;
	void *result = NULL;
	CHECK(pthread_create(&thread, NULL, answers_in_thread, "") == 0);
	CHECK(pthread_join(thread, &result) == 0 && result);
	CHECK(pthread_sigmask(SIG_UNBLOCK, &all, NULL) == 0);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &before) == 0 && !sigismember(&before, SIGSYS));
	uint64_t raw = ~0ull;
	CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &raw, NULL, 8) == 0);
	CHECK(engine_answers());
	return 0;
}

static volatile sig_atomic_t answered;

static void on_signal(int signal)
{
	(void)signal;
	answered = engine_answers();
}

static int in_handler(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigfillset(&action.sa_mask);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	CHECK(raise(SIGUSR1) == 0 && answered);
	// A mask for the wait only, which stays while the handler runs.
	answered = 0;
	sigset_t usr1, but_usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0 && raise(SIGUSR1) == 0 && !answered);
	sigfillset(&but_usr1);
	sigdelset(&but_usr1, SIGUSR1);
	CHECK(ppoll(NULL, 0, NULL, &but_usr1) == -1 && errno == EINTR && answered);
	answered = 0;
	CHECK(raise(SIGUSR1) == 0 && !answered);
	CHECK(sigsuspend(&but_usr1) == -1 && errno == EINTR && answered);
	return 0;
}

static sigjmp_buf back;
static volatile int faults;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	// The fault finds the signal blocked and the address there, as without a library in between.
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	faults += signal == SIGSEGV && info->si_addr == (void *)16 && sigismember(&now, SIGSEGV)
		&& sigismember(&now, SIGUSR2) && engine_answers();
	siglongjmp(back, 1);
}

static int own_fault(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK }, before;
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK(sigaction(SIGSEGV, &action, &before) == 0 && before.sa_handler == SIG_DFL);
	stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
	CHECK(sigaltstack(&stack, NULL) == 0);
	for (int round = 1; round <= 2; round++) {
		if (sigsetjmp(back, 1) == 0)
			*(volatile int *)16 = 1;
		CHECK(faults == round);
	}
	// A bad address in a call is the caller's business, not a fault of the program.
	long result = inline_call(SETUP, 8, 16, 0, 0, 0, 0);
	CHECK((result == -EFAULT || result == -ENOSYS) && faults == 2);
	sigset_t all;
	sigfillset(&all);
	CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
	result = inline_call(SETUP, 8, 16, 0, 0, 0, 0);
	CHECK((result == -EFAULT || result == -ENOSYS) && faults == 2);
	CHECK(sigaction(SIGSEGV, NULL, &before) == 0 && before.sa_sigaction == on_fault);
	CHECK((before.sa_flags & SA_ONSTACK) && sigismember(&before.sa_mask, SIGUSR2));
	return 0;
}

static int dies_of_fault(void)
{
	*(volatile int *)16 = 1;
	return 0;
}

static int dies_of_sent_fault(void)
{
	raise(SIGSEGV);
	return 0;
}

static int own_trap_handler(void)
{
	struct sigaction action = { .sa_handler = on_signal }, before;
	CHECK(sigaction(SIGSYS, &action, &before) == 0 && before.sa_handler == SIG_DFL);
	CHECK(engine_answers() && !answered);
	CHECK(raise(SIGSYS) == 0 && answered);
	CHECK(signal(SIGSYS, SIG_IGN) == on_signal);
	CHECK(raise(SIGSYS) == 0 && engine_answers());
	// Around the C library: has no effect, but does no harm.
	uint64_t none[4] = { 0 };
	CHECK(inline_call(SYS_rt_sigaction, SIGSYS, (long)none, 0, 8, 0, 0) == 0);
	CHECK(engine_answers());
	return 0;
}

static int forks(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(engine_answers() ? 0 : 1);
	CHECK(wait_for(pid) == 0);
	pid = inline_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (pid == 0)
		_exit(engine_answers() ? 0 : 1);
	CHECK(wait_for(pid) == 0);
	CHECK(engine_answers());
	return 0;
}

static char *self;

static int executes(void)
{
	char *arguments[] = { self, "calls", NULL };
	char *nothing[] = { NULL };
	pid_t pid;
	char command[4096];
	for (int way = 0; way < 8; way++) {
		if ((pid = fork()) == 0) {
			environ = way % 2 ? nothing : NULL;
			switch (way) {
			case 0: execve(self, arguments, NULL); break;
			case 1: execv(self, arguments); break;
			case 2: execvp(self, arguments); break;
			case 3: execle(self, self, "calls", NULL, nothing); break;
			case 4: execl(self, self, "calls", "3", "4", "5", "6", "7", NULL); break;
			case 5: execlp(self, self, "calls", NULL); break;
			case 6: fexecve(open(self, O_RDONLY), arguments, nothing); break;
			case 7: syscall(SYS_execve, self, arguments, nothing); break;
			}
			_exit(99);
		}
		int status = wait_for(pid);
		if (status != 0)
			fprintf(stderr, "way %d: status %x\n", way, status);
		CHECK(status == 0);
	}
	if ((pid = vfork()) == 0) {
		execve(self, arguments, nothing);
		_exit(99);
	}
	CHECK(wait_for(pid) == 0);
	CHECK(posix_spawn(&pid, self, NULL, NULL, arguments, nothing) == 0 && wait_for(pid) == 0);
	CHECK(posix_spawnp(&pid, self, NULL, NULL, arguments, NULL) == 0 && wait_for(pid) == 0);
	snprintf(command, sizeof command, "'%s' calls", self);
	CHECK(system(command) == 0);
	clearenv();
	CHECK(system(command) == 0);
	clearenv();
	FILE *pipe = popen(command, "r");
	CHECK(pipe && pclose(pipe) == 0);
	// A filter is inherited with each exec: a chain of them is no different.
	setenv("DEPTH", "1", 1);
	snprintf(command, sizeof command, "exec env -i sh -c \"exec env -i '%s' calls\"", self);
	CHECK(system(command) == 0);
	return 0;
}

static int spawns_closing(void)
{
	char *arguments[] = { self, "calls", NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	struct params params;
	long ring = setup(4, &params);
	CHECK(posix_spawn_file_actions_init(&actions) == 0);
	if (ring >= 0)
		CHECK(posix_spawn_file_actions_addclose(&actions, ring) == 0);
	CHECK(posix_spawn_file_actions_addclosefrom_np(&actions, 3) == 0);
	CHECK(posix_spawn(&pid, self, &actions, NULL, arguments, environ) == 0 && wait_for(pid) == 0);
	if ((pid = vfork()) == 0) {
		close_range(3, ~0u, 0);
		execv(self, arguments);
		_exit(99);
	}
	CHECK(wait_for(pid) == 0);
	if (ring >= 0)
		CHECK(fcntl(ring, F_GETFD) >= 0 && close(ring) == 0);
	return 0;
}

static int works(void);

static int closes_all(void)
{
	struct params params;
	long ring = setup(4, &params);
	long end = sysconf(_SC_OPEN_MAX);
	CHECK(works() == 0);
	for (long fd = 3; fd < end; fd++)
		close(fd);
	CHECK(ring < 0 || (fcntl(ring, F_GETFD) == -1 && errno == EBADF));
	CHECK(engine_answers() && works() == 0);
	for (long fd = 3; fd < end; fd++)
		inline_call(SYS_close, fd, 0, 0, 0, 0, 0);
	CHECK(engine_answers() && works() == 0);
	ring = setup(4, &params);
	CHECK(close_range(3, ~0u, 0) == 0);
	CHECK(ring < 0 || (fcntl(ring, F_GETFD) == -1 && errno == EBADF));
	CHECK(engine_answers() && works() == 0);
	closefrom(3);
	CHECK(syscall(SYS_close_range, 3, ~0u, 0) == 0);
	CHECK(engine_answers() && works() == 0);
	int top = open("/dev/null", O_RDONLY);
	CHECK(top == 3);
	return 0;
}

// A NOP through the ring, from setup to close, with what programs do to its descriptor in between.
static int works_with(long ring, struct params *params)
{
	uint32_t *p = params->words, *sq_off = p + 10, *cq_off = p + 20, sq_entries = p[0], cq_entries = p[1];
	size_t sq_size = sq_off[6] + sq_entries * 4, cq_size = cq_off[5] + cq_entries * 16;
	char *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, 0);
	CHECK(sq != MAP_FAILED);
	char *cq = (char *)inline_call(SYS_mmap, 0, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0x8000000);
	CHECK((unsigned long)cq < -4096ul);
	char *sqes = mmap(NULL, sq_entries * 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0x10000000);
	CHECK(sqes != MAP_FAILED);
	struct pollfd polled = { .fd = ring, .events = POLLIN };
	CHECK(poll(&polled, 1, 0) == 0);
	memset(sqes, 0, 64);
	*(uint64_t *)(sqes + 32) = 4711;
	*(uint32_t *)(sq + sq_off[6]) = 0;
	__atomic_store_n((uint32_t *)(sq + sq_off[1]), 1, __ATOMIC_RELEASE);
	CHECK(inline_call(ENTER, ring, 1, 1, 1, 0, 0) == 1);
	CHECK(__atomic_load_n((uint32_t *)(cq + cq_off[1]), __ATOMIC_ACQUIRE) == 1);
	CHECK(*(uint64_t *)(cq + cq_off[5]) == 4711);
	CHECK(poll(&polled, 1, 1000) == 1 && (polled.revents & POLLIN));
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, ring, &event) == 0 && epoll_wait(epoll, &event, 1, 1000) == 1);
	// Taken by memory alone: no longer ready.
	__atomic_store_n((uint32_t *)(cq + cq_off[0]), 1, __ATOMIC_RELEASE);
	CHECK(poll(&polled, 1, 0) == 0);
	CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	CHECK(close(epoll) == 0);
	CHECK(munmap(sq, sq_size) == 0 && munmap(cq, cq_size) == 0 && munmap(sqes, sq_entries * 64) == 0);
	return 0;
}

static int works(void)
{
	struct params params;
	long ring = setup(4, &params);
	if (ring == -ENOSYS)
		return 0;
	CHECK(ring >= 0);
	CHECK((fcntl(ring, F_GETFD) & FD_CLOEXEC) != 0);
	CHECK(works_with(ring, &params) == 0);
	int second = dup(ring), third = fcntl(ring, F_DUPFD_CLOEXEC, 0);
	CHECK(second >= 0 && third >= 0 && second != third && second != ring);
	CHECK(close(ring) == 0);
	CHECK(inline_call(ENTER, ring, 0, 0, 0, 0, 0) == -EBADF);
	CHECK(close(ring) == -1 && errno == EBADF);
	CHECK(inline_call(ENTER, second, 0, 0, 0, 0, 0) == 0 && inline_call(ENTER, third, 0, 0, 0, 0, 0) == 0);
	CHECK(inline_call(SYS_close, second, 0, 0, 0, 0, 0) == 0);
	CHECK(dup2(0, third) == third && inline_call(ENTER, third, 0, 0, 0, 0, 0) == -EOPNOTSUPP);
	CHECK(close(third) == 0 && close(third) == -1);
	return 0;
}

static int ring(void)
{
	struct params params;
	if (setup(4, &params) == -ENOSYS)
		return 77;
	return works();
}

// A ring with its parts mapped.
struct queue {
	int fd;
	uint32_t *sq_tail, *array, *cq_head, *cq_tail;
	char *sqes, *cqes, *rings;
	size_t length;
};

static struct queue queue(void)
{
	struct params params;
	struct queue queue = { .fd = setup(4, &params) };
	CHECK(queue.fd >= 0);
	uint32_t *p = params.words, *sq_off = p + 10, *cq_off = p + 20;
	queue.length = sq_off[6] + 16;
	char *rings = queue.rings = mmap(NULL, queue.length, PROT_READ | PROT_WRITE, MAP_SHARED, queue.fd, 0);
	queue.sqes = mmap(NULL, 4 * 64, PROT_READ | PROT_WRITE, MAP_SHARED, queue.fd, 0x10000000);
	CHECK(rings != MAP_FAILED && queue.sqes != MAP_FAILED);
	queue.sq_tail = (uint32_t *)(rings + sq_off[1]);
	queue.array = (uint32_t *)(rings + sq_off[6]);
	queue.cq_head = (uint32_t *)(rings + cq_off[0]);
	queue.cq_tail = (uint32_t *)(rings + cq_off[1]);
	queue.cqes = rings + cq_off[5];
	return queue;
}

// Adds a request that transfers.
static void add(struct queue *queue, uint8_t opcode, int fd, void *buffer, uint32_t length)
{
	uint32_t tail = *queue->sq_tail, slot = tail & 3;
	char *sqe = queue->sqes + slot * 64;
	memset(sqe, 0, 64);
	sqe[0] = opcode;
	memcpy(sqe + 4, &fd, 4);
	memcpy(sqe + 16, &buffer, 8);
	memcpy(sqe + 24, &length, 4);
	queue->array[slot] = slot;
	__atomic_store_n(queue->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

// The result of the next CQE, which is there.
static int reap(struct queue *queue)
{
	uint32_t head = *queue->cq_head;
	CHECK(__atomic_load_n(queue->cq_tail, __ATOMIC_ACQUIRE) != head);
	int result = *(int *)(queue->cqes + (head & 7) * 16 + 8);
	__atomic_store_n(queue->cq_head, head + 1, __ATOMIC_RELEASE);
	return result;
}

static void *write_later(void *fd)
{
	usleep(2000);
	CHECK(write((int)(intptr_t)fd, "12345678", 8) == 8);
	return NULL;
}

// Receives what comes later, several times.
static void receives(struct queue *queue, int pair[2])
{
	for (int round = 0; round < 3; round++) {
		char buffer[16] = "";
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, write_later, (void *)(intptr_t)pair[1]) == 0);
		add(queue, 27, pair[0], buffer, sizeof buffer);
		CHECK(inline_call(ENTER, queue->fd, 1, 1, 1, 0, 0) == 1);
		CHECK(reap(queue) == 8 && memcmp(buffer, "12345678", 8) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
}

// Whether the peer sees the end of the stream in time.
static int sees_end(int fd, int limit)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	char byte;
	return poll(&polled, 1, limit) == 1 && read(fd, &byte, 1) == 0;
}

// What the engine keeps of files that were waited for ends with the program's descriptor.
static int closes_what_was_waited_for(void)
{
	struct queue rings = queue();
	int pair[2], number = -1;
	for (int way = 0; way < 4; way++) {
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		// The same number each time, for another file.
		CHECK(number == -1 || pair[0] == number);
		number = pair[0];
		receives(&rings, pair);
		switch (way) {
		case 0:
			CHECK(close(pair[0]) == 0);
			break;
		case 1:
			CHECK(dup2(0, pair[0]) == pair[0]);
			break;
		case 2:
			add(&rings, 19, pair[0], NULL, 0);
			CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1 && reap(&rings) == 0);
			break;
		case 3:
			CHECK(fclose(fdopen(pair[0], "r")) == 0);
		}
		CHECK(sees_end(pair[1], 1000));
		close(pair[0]);
		CHECK(close(pair[1]) == 0);
	}
	// Nobody is told of this close; another file at the number is another file.
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	receives(&rings, pair);
	CHECK(inline_call(SYS_close, pair[0], 0, 0, 0, 0, 0) == 0);
	int other[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0 && other[0] == pair[0]);
	receives(&rings, other);
	CHECK(sees_end(pair[1], 1000));
	// Or the ring is waited for in vain.
	CHECK(inline_call(SYS_close, other[0], 0, 0, 0, 0, 0) == 0);
	struct timespec limit = { .tv_nsec = 60000000 };
	uint64_t argument[3] = { 0, 0, (uint64_t)(uintptr_t)&limit };
	CHECK(inline_call(ENTER, rings.fd, 0, 1, 9, (long)argument, sizeof argument) == -ETIME);
	CHECK(sees_end(other[1], 1000));
	return 0;
}

enum { SHARED_ROUNDS = 5000 };

// Two threads that read from one pipe by one ring, round by round, and one that writes for both.
struct readers {
	struct queue *queue;
	pthread_mutex_t lock;
	pthread_barrier_t round;
	int pipe[2], done;
};

static void *reads_of_one_pipe(void *argument)
{
	struct readers *readers = argument;
	struct queue *queue = readers->queue;
	static char byte;
	struct timespec limit = { .tv_nsec = 100000 };
	uint64_t wait[3] = { 0, 0, (uint64_t)(uintptr_t)&limit };
	for (int round = 1; round <= SHARED_ROUNDS; round++) {
		pthread_barrier_wait(&readers->round);
		pthread_mutex_lock(&readers->lock);
		add(queue, 22, readers->pipe[0], &byte, 1);
		CHECK(inline_call(ENTER, queue->fd, 1, 0, 0, 0, 0) == 1);
		pthread_mutex_unlock(&readers->lock);
		for (int waits = 0, done = 0; done < 2 * round; waits++) {
			CHECK(waits < 20000);
			// The other one may reap what this one waited for.
			long waited = inline_call(ENTER, queue->fd, 0, 1, 9, (long)wait, sizeof wait);
			CHECK(waited == 0 || waited == -ETIME);
			pthread_mutex_lock(&readers->lock);
			while (*queue->cq_head != __atomic_load_n(queue->cq_tail, __ATOMIC_ACQUIRE)) {
				CHECK(reap(queue) == 1);
				readers->done++;
			}
			done = readers->done;
			pthread_mutex_unlock(&readers->lock);
		}
		pthread_barrier_wait(&readers->round);
	}
	return NULL;
}

static void *writes_for_both(void *argument)
{
	struct readers *readers = argument;
	for (int round = 0; round < SHARED_ROUNDS; round++) {
		pthread_barrier_wait(&readers->round);
		for (volatile int pause = 0; pause < round % 64 * 64; pause++)
			;
		CHECK(write(readers->pipe[1], "xx", 2) == 2);
		pthread_barrier_wait(&readers->round);
	}
	return NULL;
}

static int open_descriptors(void)
{
	int count = 0;
	DIR *directory = opendir("/proc/self/fd");
	CHECK(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

// What waits for one file shares a watch, and none of it is forgotten.
static int shares_a_watch(void)
{
	struct queue rings = queue();
	struct readers readers = { .queue = &rings, .lock = PTHREAD_MUTEX_INITIALIZER };
	char bytes[4], byte;
	pthread_t thread;
	CHECK(pipe(readers.pipe) == 0);
	add(&rings, 22, readers.pipe[0], bytes, 1);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	int before = open_descriptors();
	for (int index = 1; index < 4; index++) {
		add(&rings, 22, readers.pipe[0], bytes + index, 1);
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	}
	CHECK(open_descriptors() == before);
	CHECK(write(readers.pipe[1], "abcd", 4) == 4);
	CHECK(inline_call(ENTER, rings.fd, 0, 4, 1, 0, 0) == 0);
	for (int index = 0; index < 4; index++)
		CHECK(reap(&rings) == 1);
	// The latest is served first, as in Linux.
	CHECK(memcmp(bytes, "dcba", 4) == 0);
	// What comes while nobody waits is no wait's end, and the next wait has one.
	int idle[2];
	CHECK(pipe(idle) == 0);
	add(&rings, 22, idle[0], bytes, 1);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	for (int round = 0; round < 3; round++) {
		CHECK(write(readers.pipe[1], "y", 1) == 1);
		struct timespec limit = { .tv_nsec = 3000000 };
		uint64_t wait[3] = { 0, 0, (uint64_t)(uintptr_t)&limit };
		CHECK(inline_call(ENTER, rings.fd, 0, 1, 9, (long)wait, sizeof wait) == -ETIME);
		CHECK(read(readers.pipe[0], &byte, 1) == 1 && byte == 'y');
		CHECK(pthread_create(&thread, NULL, write_later, (void *)(intptr_t)readers.pipe[1]) == 0);
		char eight[8];
		add(&rings, 22, readers.pipe[0], eight, 8);
		CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1 && reap(&rings) == 8);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	CHECK(write(idle[1], "z", 1) == 1);
	CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == 1 && bytes[0] == 'z');
	// A registered file has one as well, and keeps the file open no longer than it is in use.
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(inline_call(REGISTER, rings.fd, 2, (long)pair, 1, 0, 0) == 0 && close(pair[0]) == 0);
	for (int round = 0; round < 6; round++) {
		char *sqe = rings.sqes + (*rings.sq_tail & 3) * 64;
		add(&rings, 27, 0, bytes, 1);
		sqe[1] = 1;
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
		if (round == 0)
			before = open_descriptors();
		CHECK(open_descriptors() == before);
		if (round < 3)
			continue;
		if (round == 5)
			CHECK(inline_call(REGISTER, rings.fd, 3, 0, 0, 0, 0) == 0);
		CHECK(!sees_end(pair[1], 0));
		for (int taken = round == 3 ? 0 : 3; taken < 4; taken++) {
			CHECK(write(pair[1], "r", 1) == 1);
			CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == 1);
		}
	}
	CHECK(sees_end(pair[1], 1000) && close(pair[1]) == 0);
	// One thread puts its request to wait while the other takes the report.
	CHECK(pthread_barrier_init(&readers.round, NULL, 3) == 0);
	CHECK(pthread_create(&thread, NULL, reads_of_one_pipe, &readers) == 0);
	pthread_t writer;
	CHECK(pthread_create(&writer, NULL, writes_for_both, &readers) == 0);
	reads_of_one_pipe(&readers);
	CHECK(pthread_join(thread, NULL) == 0 && pthread_join(writer, NULL) == 0);
	return 0;
}

// Rings have room in the kernel's table of descriptors before the program has threads: its growth takes ten milliseconds then.
static int has_room_for_rings(void)
{
	char line[128];
	int size = 0;
	FILE *status = fopen("/proc/self/status", "r");
	CHECK(status != NULL);
	while (fgets(line, sizeof line, status) != NULL)
		sscanf(line, "FDSize: %d", &size);
	CHECK(fclose(status) == 0);
	struct queue rings = queue();
	CHECK(size > rings.fd);
	return 0;
}

// A chain that drains comes at all moments of a worker's work on the request before it.
static int drains_behind_workers(void)
{
	enum { VECTORS = 1024, CHAIN = 3 };
	struct queue rings = queue();
	int file = open(self, O_RDONLY);
	static char byte;
	static struct iovec vectors[VECTORS];
	for (int index = 0; index < VECTORS; index++)
		vectors[index] = (struct iovec){ &byte, 1 };
	struct timespec limit = { .tv_sec = 5 };
	uint64_t wait[3] = { 0, 0, (uint64_t)(uintptr_t)&limit };
	for (int round = 0; round < 10000; round++) {
		add(&rings, 0, -1, NULL, 0);
		rings.sqes[(*rings.sq_tail - 1 & 3) * 64 + 1] = 16; // IOSQE_ASYNC
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
		for (volatile int pause = round % 512 * 32; pause > 0; pause--)
			continue;
		for (int index = 0; index < CHAIN; index++) {
			add(&rings, 1, file, vectors, VECTORS);
			// IOSQE_IO_DRAIN, IOSQE_IO_LINK
			rings.sqes[(*rings.sq_tail - 1 & 3) * 64 + 1] = (index == 0 ? 2 : 0) | (index < CHAIN - 1 ? 4 : 0);
		}
		CHECK(inline_call(ENTER, rings.fd, CHAIN, CHAIN + 1, 9, (long)wait, sizeof wait) == CHAIN);
		CHECK(reap(&rings) == 0);
		for (int index = 0; index < CHAIN; index++)
			CHECK(reap(&rings) == VECTORS);
	}
	return 0;
}

// Sets a word of the request that was added last.
static void set(struct queue *queue, int offset, uint32_t value)
{
	memcpy(queue->sqes + (*queue->sq_tail - 1 & 3) * 64 + offset, &value, 4);
}

// Adds a request that a worker waits in a call for: for somebody who writes to a FIFO, or for a child to end.
static void add_waiting(struct queue *queue, char *fifo)
{
	enum { OPENAT = 18, WAITID = 50 };
	if (fifo != NULL)
		add(queue, OPENAT, AT_FDCWD, fifo, 0);
	else
		add(queue, WAITID, 0, NULL, P_ALL);
	set(queue, fifo != NULL ? 28 : 44, fifo != NULL ? O_CREAT | O_RDONLY : WEXITED);
	set(queue, 32, 1);
	CHECK(inline_call(ENTER, queue->fd, 1, 0, 0, 0, 0) == 1);
	usleep(20000);
}

// What was ready before a call that asks for completions is there after it, whoever was just at it.
static int catches_up(void)
{
	struct queue rings = queue();
	int ends[2];
	char byte = 'x';
	CHECK(pipe(ends) == 0);
	add(&rings, 6, ends[0], NULL, 1); // POLL_ADD, IORING_POLL_ADD_MULTI
	set(&rings, 28, POLLIN);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	for (int round = 0; round < 2000; round++) {
		// The ring is left alone, so that the background thread has it.
		usleep(round % 8 == 0 ? 1000 : 0);
		CHECK(write(ends[1], &byte, 1) == 1);
		for (volatile int pause = round % 256 * 64; pause > 0; pause--)
			continue;
		CHECK(inline_call(ENTER, rings.fd, 0, 0, 1, 0, 0) == 0);
		CHECK(reap(&rings) & POLLIN);
		CHECK(read(ends[0], &byte, 1) == 1);
	}
	return 0;
}

static int has_reader(const char *fifo)
{
	int fd = open(fifo, O_WRONLY | O_NONBLOCK);
	CHECK(fd >= 0 || errno == ENXIO);
	return fd >= 0 && close(fd) == 0;
}

// What a worker waits in a call for ends when it is cancelled, and when its ring is closed.
static int interrupts_workers(void)
{
	enum { CANCEL = 14 };
	char directory[] = P_tmpdir "/ringer-fifo-XXXXXX", fifo[sizeof directory + 5];
	CHECK(mkdtemp(directory) != NULL);
	sprintf(fifo, "%s/fifo", directory);
	CHECK(mkfifo(fifo, 0600) == 0);
	pid_t child = fork();
	if (child == 0)
		for (;;)
			pause();
	struct queue rings = queue();
	for (int round = 0; round < 20; round++) {
		int results[3], opens = round % 2;
		add_waiting(&rings, opens ? fifo : NULL);
		add(&rings, CANCEL, -1, (void *)1, 0);
		set(&rings, 32, 2);
		CHECK(inline_call(ENTER, rings.fd, 1, 2, 1, 0, 0) == 1);
		for (int count = 0; count < 2; count++) {
			uint64_t name = *(uint64_t *)(rings.cqes + (*rings.cq_head & 7) * 16);
			CHECK(name == 1 || name == 2);
			results[name] = reap(&rings);
		}
		// Linux tells of the open what is not meant for programs.
		CHECK(opens ? results[1] == -EINTR || results[1] == -512 : results[1] == -ECANCELED);
		CHECK(results[2] == (opens ? -EALREADY : 1));
		CHECK(!has_reader(fifo));
	}
	add_waiting(&rings, fifo);
	CHECK(close(rings.fd) == 0 && munmap(rings.rings, rings.length) == 0 && munmap(rings.sqes, 4 * 64) == 0);
	// It ends in the background.
	usleep(200000);
	CHECK(!has_reader(fifo));
	CHECK(kill(child, SIGKILL) == 0 && wait_for(child) == SIGKILL);
	CHECK(unlink(fifo) == 0 && rmdir(directory) == 0);
	return 0;
}

// Looks for what has become possible, until then or for a moment.
static void look(struct queue *queue)
{
	struct timespec limit = { .tv_nsec = 20000000 };
	uint64_t wait[3] = { 0, 0, (uint64_t)(uintptr_t)&limit };
	long waited = inline_call(ENTER, queue->fd, 0, 1, 9, (long)wait, sizeof wait);
	CHECK(waited == 0 || waited == -ETIME);
}

// A splice waits for one of its files, for the other, and for the first again.
static int waits_for_either_file(void)
{
	enum { SPLICE = 30, ROOM = 4096 };
	struct queue rings = queue();
	int in[2], out[2];
	static char page[ROOM];
	char byte;
	CHECK(pipe(in) == 0 && pipe(out) == 0 && fcntl(out[1], F_SETPIPE_SZ, ROOM) == ROOM);
	CHECK(write(in[1], "a", 1) == 1 && write(out[1], page, ROOM) == ROOM);
	char *sqe = rings.sqes + (*rings.sq_tail & 3) * 64;
	int64_t none = -1;
	add(&rings, SPLICE, out[1], (void *)(intptr_t)-1, 1);
	memcpy(sqe + 8, &none, sizeof none);
	memcpy(sqe + 44, &in[0], sizeof in[0]);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	look(&rings);
	CHECK(read(in[0], &byte, 1) == 1 && read(out[0], page, ROOM) == ROOM);
	look(&rings);
	CHECK(write(out[1], page, ROOM) == ROOM && write(in[1], "z", 1) == 1);
	look(&rings);
	CHECK(*rings.cq_head == __atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE));
	CHECK(read(out[0], page, ROOM) == ROOM);
	CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == 1);
	CHECK(read(out[0], &byte, 1) == 1 && byte == 'z');
	return 0;
}

// Waits for an inherited ring that begin after the fork hear of what the other process posts: a request's, and the program's own.
static int waits_for_an_inherited_ring(void)
{
	enum { POLL_ADD = 6 };
	for (int by_request = 0; by_request < 2; by_request++) {
		struct queue rings = queue(), other = queue();
		uint32_t events = POLLIN;
		int go[2];
		char byte = 'x';
		CHECK(pipe(go) == 0);
		pid_t child = fork();
		if (child == 0) {
			CHECK(read(go[0], &byte, 1) == 1);
			usleep(20000);
			add(&other, 0, -1, NULL, 0);
			_exit(inline_call(ENTER, other.fd, 1, 0, 0, 0, 0) != 1);
		}
		CHECK(child > 0);
		if (by_request) {
			char *sqe = rings.sqes + (*rings.sq_tail & 3) * 64;
			add(&rings, POLL_ADD, other.fd, NULL, 0);
			memcpy(sqe + 28, &events, sizeof events);
			CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
			CHECK(write(go[1], &byte, 1) == 1);
			CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == POLLIN);
		} else {
			struct pollfd ring = { .fd = other.fd, .events = POLLIN };
			CHECK(poll(&ring, 1, 0) == 0);
			CHECK(write(go[1], &byte, 1) == 1);
			CHECK(poll(&ring, 1, 5000) == 1 && ring.revents == POLLIN);
		}
		CHECK(wait_for(child) == 0 && reap(&other) == 0);
	}
	return 0;
}

// A ring can be waited for like any file: by another ring, and for changes only.
static int waits_for_a_ring(void)
{
	struct queue rings = queue(), other = queue();
	char *sqe = rings.sqes + (*rings.sq_tail & 3) * 64;
	uint32_t events = POLLIN;
	add(&rings, 6, other.fd, NULL, 0);
	memcpy(sqe + 28, &events, sizeof events);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	CHECK(*rings.cq_head == __atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE));
	add(&other, 0, -1, NULL, 0);
	CHECK(inline_call(ENTER, other.fd, 1, 0, 0, 0, 0) == 1);
	CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == POLLIN);
	CHECK(reap(&other) == 0);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, other.fd, &event) == 0);
	for (int round = 0; round < 3; round++) {
		struct timespec soon = { .tv_nsec = 5000000 };
		add(&other, 0, -1, NULL, 0);
		add(&other, 11, -1, &soon, 1);
		CHECK(inline_call(ENTER, other.fd, 2, 0, 0, 0, 0) == 2);
		CHECK(epoll_wait(epoll, &event, 1, 1000) == 1 && reap(&other) == 0);
		// It comes before anybody looks again.
		usleep(20000);
		CHECK(epoll_wait(epoll, &event, 1, 1000) == 1 && reap(&other) == -ETIME);
		CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	}
	// Put there by a request, and waited for by the program.
	enum { EPOLL_CTL = 29 };
	int second = epoll_create1(EPOLL_CLOEXEC);
	event.events = EPOLLIN;
	add(&rings, EPOLL_CTL, second, &event, EPOLL_CTL_ADD);
	set(&rings, 8, other.fd);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1 && reap(&rings) == 0);
	for (int round = 0; round < 3; round++) {
		CHECK(epoll_wait(second, &event, 1, 0) == 0);
		add(&other, 0, -1, NULL, 0);
		CHECK(inline_call(ENTER, other.fd, 1, 0, 0, 0, 0) == 1);
		CHECK(epoll_wait(second, &event, 1, 1000) == 1 && reap(&other) == 0);
	}
	// A child that has the ring, too, tells its parent.
	sqe = rings.sqes + (*rings.sq_tail & 3) * 64;
	add(&rings, 6, other.fd, NULL, 0);
	memcpy(sqe + 28, &events, sizeof events);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	CHECK(*rings.cq_head == __atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE));
	pid_t child = fork();
	if (child == 0) {
		add(&other, 0, -1, NULL, 0);
		_exit(inline_call(ENTER, other.fd, 1, 0, 0, 0, 0) != 1);
	}
	CHECK(child > 0 && wait_for(child) == 0);
	CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == POLLIN && reap(&other) == 0);
	// It is no file to write to.
	uint64_t one = 1;
	add(&rings, 23, other.fd, &one, sizeof one);
	CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1 && reap(&rings) == -EINVAL);
	CHECK(epoll_wait(second, &event, 1, 0) == 0);
	return 0;
}

// A descriptor that is registered only takes none of the program's numbers: not while it is there, and not where none is left.
static int keeps_numbers(void)
{
	enum { ACCEPT = 13, OPENAT = 18, SOCKET = 45, PIPE = 62, FILES = 2, SLOTS = 8, AT_SLOT = 44 };
	struct queue rings = queue();
	int none[SLOTS], numbers[2], last, listener = socket(AF_UNIX, SOCK_STREAM, 0), lowest = dup(0);
	memset(none, -1, sizeof none);
	CHECK(inline_call(REGISTER, rings.fd, FILES, (long)none, SLOTS, 0, 0) == 0);
	// A name of its own that the kernel chooses.
	struct sockaddr_un address = { AF_UNIX };
	socklen_t size = sizeof address;
	CHECK(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0 && listen(listener, 8) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
	int clients[2] = { socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_STREAM, 0) }, pair[2];
	char byte = 0;
	CHECK(close(lowest) == 0 && pipe(pair) == 0 && (lowest = dup(0)) >= 0);
	CHECK(lowest >= 0 && close(lowest) == 0);
	struct rlimit limit, tight;
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (int is_full = 0; is_full < 2; is_full++) {
		CHECK(connect(clients[is_full], (struct sockaddr *)&address, size) == 0);
		tight = limit;
		tight.rlim_cur = lowest;
		if (is_full)
			CHECK(setrlimit(RLIMIT_NOFILE, &tight) == 0 && dup(0) == -1 && errno == EMFILE);
		add(&rings, OPENAT, AT_FDCWD, "/dev/null", 0);
		set(&rings, AT_SLOT, 1);
		add(&rings, ACCEPT, listener, NULL, 0);
		set(&rings, AT_SLOT, 2);
		add(&rings, SOCKET, AF_UNIX, NULL, 0);
		set(&rings, 8, SOCK_STREAM);
		set(&rings, AT_SLOT, 3);
		add(&rings, PIPE, 0, numbers, 0);
		set(&rings, AT_SLOT, 4);
		CHECK(inline_call(ENTER, rings.fd, 4, 4, 1, 0, 0) == 4);
		for (int count = 0; count < 4; count++)
			CHECK(reap(&rings) == 0);
		if (is_full) {
			// Nor does a request that waits take any.
			add(&rings, 22, pair[0], &byte, 1);
			CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1 && write(pair[1], "x", 1) == 1);
			CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == 1 && byte == 'x');
			CHECK(dup(0) == -1 && errno == EMFILE && setrlimit(RLIMIT_NOFILE, &limit) == 0);
			CHECK(getrlimit(RLIMIT_NOFILE, &tight) == 0 && tight.rlim_cur == limit.rlim_cur);
		}
		last = dup(0);
		CHECK(last == lowest && close(last) == 0);
	}
	return 0;
}

// Where few descriptors are to be had, files of the program lie among the rings, and are files all the same.
static int files_among_rings(void)
{
	enum { LIMIT = 256, FILES = 60 };
	struct rlimit limit = { LIMIT, LIMIT }, now;
	CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
	if (now.rlim_max != LIMIT) {
		CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
		execl(self, self, "files_among_rings", NULL);
		_exit(1);
	}
	struct queue rings = queue();
	int pipes[FILES][2], above = 0;
	for (int index = 0; index < FILES; index++) {
		CHECK(pipe(pipes[index]) == 0);
		above += pipes[index][0] > rings.fd;
	}
	CHECK(above > 0);
	for (int index = 0; index < FILES; index++) {
		int *pair = pipes[index];
		char byte = 0;
		add(&rings, 22, pair[0], &byte, 1);
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
		CHECK(write(pair[1], "x", 1) == 1);
		CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == 1 && byte == 'x');
		CHECK(inline_call(REGISTER, rings.fd, 2, (long)pair, 2, 0, 0) == 0);
		CHECK(inline_call(REGISTER, rings.fd, 3, 0, 0, 0, 0) == 0);
		add(&rings, 19, pair[1], NULL, 0);
		CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1 && reap(&rings) == 0);
		CHECK(sees_end(pair[0], 1000));
		CHECK(close(pair[0]) == 0);
		CHECK(inline_call(SYS_close, pair[0], 0, 0, 0, 0, 0) == -EBADF);
	}
	return 0;
}

// What a ring was restricted to holds for a child as well.
static int restricts_over_fork(void)
{
	enum { R_DISABLED = 1 << 6, RESTRICTIONS = 11, ENABLE = 12, UNREGISTER_FILES = 3, SQE_OP = 1 };
	struct params params = { 0 };
	params.words[2] = R_DISABLED;
	long fd = inline_call(SETUP, 4, (long)&params, 0, 0, 0, 0);
	CHECK(fd >= 0);
	uint32_t only_nops[4] = { SQE_OP };
	CHECK(inline_call(REGISTER, fd, RESTRICTIONS, (long)only_nops, 1, 0, 0) == 0);
	CHECK(inline_call(REGISTER, fd, ENABLE, 0, 0, 0, 0) == 0);
	CHECK(inline_call(REGISTER, fd, UNREGISTER_FILES, 0, 0, 0, 0) == -EACCES);
	pid_t pid = fork();
	if (pid == 0)
		_exit(inline_call(REGISTER, fd, UNREGISTER_FILES, 0, 0, 0, 0) == -EACCES ? 0 : 1);
	CHECK(wait_for(pid) == 0);
	return 0;
}

// A child cancels what its parent waits for.
static int cancels_over_fork(void)
{
	struct queue rings = queue();
	int pair[2];
	char byte;
	CHECK(pipe(pair) == 0);
	add(&rings, 22, pair[0], &byte, 1);
	*(uint64_t *)(rings.sqes + 32) = 77;
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	for (int way = 0; way < 2; way++) {
		pid_t pid = fork();
		if (pid == 0) {
			char *sqe = rings.sqes + (*rings.sq_tail & 3) * 64;
			add(&rings, 14, -1, (void *)(intptr_t)77, 0);
			*(uint64_t *)(sqe + 32) = 1;
			CHECK(inline_call(ENTER, rings.fd, 1, 1 + (way == 0), 1, 0, 0) == 1);
			int results[2] = { reap(&rings), way == 0 ? reap(&rings) : 0 };
			// The second time there is nothing to cancel any more.
			CHECK(way == 1 ? results[0] == -ENOENT : results[0] + results[1] == -ECANCELED);
			exit(0);
		}
		CHECK(wait_for(pid) == 0);
	}
	return 0;
}

static volatile int stop_registering;

static void *registers(void *argument)
{
	struct queue *queue = argument;
	int files[64];
	memset(files, -1, sizeof files);
	while (!stop_registering) {
		// There is another thread at it.
		inline_call(REGISTER, queue->fd, 2, (long)files, 64, 0, 0);
		inline_call(REGISTER, queue->fd, 3, 0, 0, 0, 0);
	}
	return NULL;
}

// Children that execute something, or end, while other threads use the rings: what these have locked just then must not hold the children up.
static int forks_among_threads(void)
{
	enum { FUTEX_WAIT = 51, FORKS = 300 };
	static uint32_t word;
	struct queue rings = queue();
	pthread_t threads[2];
	add(&rings, FUTEX_WAIT, 2, &word, 0);
	*(uint64_t *)(rings.sqes + 48) = 0xffffffff;
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	for (int index = 0; index < 2; index++)
		CHECK(pthread_create(&threads[index], NULL, registers, &rings) == 0);
	for (int count = 0; count < FORKS; count++) {
		pid_t pid = fork();
		if (pid == 0) {
			if (count % 2)
				execl("/bin/true", "true", NULL);
			exit(0);
		}
		int status = -1, rounds = 0;
		while (waitpid(pid, &status, WNOHANG) == 0 && ++rounds < 50000)
			usleep(100);
		if (rounds == 50000)
			kill(pid, SIGKILL);
		CHECK(rounds < 50000 && status == 0);
	}
	stop_registering = 1;
	for (int index = 0; index < 2; index++)
		CHECK(pthread_join(threads[index], NULL) == 0);
	return 0;
}

// A TIMEOUT that stands alone outlives the child that submitted it; what else is pending ends with it.
static int leaves_timeouts(void)
{
	struct queue rings = queue();
	int pair[2];
	char byte;
	CHECK(pipe(pair) == 0);
	for (int waits = 0; waits < 2; waits++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct timespec soon = { .tv_nsec = 200000000 };
			usleep(waits * 50000);
			add(&rings, 11, -1, &soon, 1);
			add(&rings, 22, pair[0], &byte, 1);
			CHECK(inline_call(ENTER, rings.fd, 2, 0, 0, 0, 0) == 2);
			exit(0);
		}
		// It comes to one who waits already, or comes later.
		if (!waits)
			CHECK(wait_for(pid) == 0);
		CHECK(inline_call(ENTER, rings.fd, 0, 2, 1, 0, 0) == 0);
		if (waits)
			CHECK(wait_for(pid) == 0);
		int first = reap(&rings);
		if (*rings.cq_head == __atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE))
			CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0);
		CHECK(first == -ECANCELED && reap(&rings) == -ETIME);
	}
	return 0;
}

// A ring that was made before a fork works on both sides: what one submits the other may reap, and each wakes the other.
static int shares_ring_over_fork(void)
{
	struct queue rings = queue();
	int data[2], go[2], idle[2];
	CHECK(pipe(data) == 0 && pipe(go) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, idle) == 0);
	static char buffer[64];
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	// The parent's own request is pending while it forks; the child must not keep its file open.
	add(&rings, 27, idle[0], buffer, sizeof buffer);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	// Nor that of one that waits for changes, nor what stays of one that is done.
	int polled[2], kept[2];
	uint32_t events = POLLIN;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, polled) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, kept) == 0);
	char *sqe = rings.sqes + (*rings.sq_tail & 3) * 64;
	add(&rings, 6, polled[0], NULL, 1);
	memcpy(sqe + 28, &events, sizeof events);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	receives(&rings, kept);
	pid_t pid = fork();
	if (pid == 0) {
		close(idle[0]), close(idle[1]), close(polled[0]), close(polled[1]), close(kept[0]), close(kept[1]);
		// Waits for what the parent submits and completes.
		CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == 0);
		// Submits what the parent waits for: it completes when the data come.
		add(&rings, 22, data[0], shared, 64);
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
		usleep(20000);
		CHECK(write(data[1], "from the child", 14) == 14);
		char byte;
		close(go[1]);
		_exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
	}
	usleep(20000);
	uint32_t taken = *rings.cq_head + 1;
	add(&rings, 0, -1, NULL, 0);
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	// It is the child's: to wait here before that has it would be to wait for it, too.
	for (int waits = 0; __atomic_load_n(rings.cq_head, __ATOMIC_ACQUIRE) != taken; waits++) {
		CHECK(waits < 5000);
		usleep(1000);
	}
	CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == 14);
	CHECK(memcmp(shared, "from the child", 14) == 0);
	// What a child leaves pending ends with it.
	pid_t short_lived = fork();
	if (short_lived == 0) {
		add(&rings, 22, data[0], shared, 64);
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
		exit(0);
	}
	CHECK(wait_for(short_lived) == 0);
	CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0 && reap(&rings) == -ECANCELED);
	// The child lives; the pending request's file has no other holder than this process.
	CHECK(close(rings.fd) == 0 && close(idle[0]) == 0 && sees_end(idle[1], 1000));
	CHECK(close(polled[0]) == 0 && sees_end(polled[1], 1000) && close(kept[0]) == 0 && sees_end(kept[1], 1000));
	CHECK(close(go[0]) == 0 && close(go[1]) == 0);
	return wait_for(pid) == 0 ? 0 : 1;
}

static int lock_record(int fd, int command, short type, struct flock *lock)
{
	*lock = (struct flock){ .l_type = type, .l_whence = SEEK_SET };
	return fcntl(fd, command, lock);
}

// Whether another process finds the file locked by this one.
static int is_locked(const char *path)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		struct flock lock;
		int fd = open(path, O_RDWR);
		CHECK(fd >= 0 && lock_record(fd, F_GETLK, F_WRLCK, &lock) == 0);
		_exit(lock.l_type == F_WRLCK && lock.l_pid == parent ? 0 : 3);
	}
	return wait_for(pid) == 0;
}

// Requests that a worker served, and registered files, lose nobody's locks.
static int keeps_record_locks(void)
{
	struct queue rings = queue();
	char path[] = "/tmp/ringer-locks-XXXXXX";
	int fd = mkstemp(path);
	struct flock lock;
	CHECK(fd >= 0 && lock_record(fd, F_SETLK, F_WRLCK, &lock) == 0 && is_locked(path));
	for (int round = 0; round < 2; round++) {
		add(&rings, 3, fd, NULL, 0);
		CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1 && reap(&rings) == 0);
		CHECK(is_locked(path));
	}
	CHECK(inline_call(REGISTER, rings.fd, 2, (long)&fd, 1, 0, 0) == 0);
	CHECK(inline_call(REGISTER, rings.fd, 3, 0, 0, 0, 0) == 0);
	CHECK(is_locked(path));
	CHECK(lock_record(fd, F_SETLK, F_UNLCK, &lock) == 0 && !is_locked(path));
	CHECK(unlink(path) == 0);
	return 0;
}

static void *nothing(void *argument)
{
	return argument;
}

// The C library waits until every thread has changed its user: those of the engine, too. (It makes its signal for
// that arrive in the first thread of a process itself, whatever is blocked. So that one is ours.)
static int changes_user(void)
{
	pthread_t first;
	CHECK(pthread_create(&first, NULL, nothing, NULL) == 0 && pthread_join(first, NULL) == 0);
	struct queue rings = queue();
	int fd = memfd_create("file", 0);
	CHECK(fd >= 0);
	add(&rings, 3, fd, NULL, 0);
	rings.sqes[1] = 1 << 4; // IOSQE_ASYNC: a worker, which stays a while
	CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1 && reap(&rings) == 0);
	for (int round = 0; round < 3; round++)
		CHECK(setreuid(-1, -1) == 0 && setregid(-1, -1) == 0);
	return 0;
}

// A file that only a request of the parent has any more is not at its end when a child that has inherited the ring is.
static int tells_of_a_file_once(void)
{
	struct queue rings = queue();
	int ends[2];
	static char buffer[8];
	CHECK(pipe(ends) == 0);
	// struct io_uring_rsrc_register and io_uring_rsrc_update2, with pointers to the descriptors and to the tags.
	int32_t none = -1;
	uint64_t tags[2] = { 7, 0 };
	uint64_t table[4] = { 1, 0, (uintptr_t)&ends[0], (uintptr_t)&tags[0] };
	uint64_t update[4] = { 0, (uintptr_t)&none, (uintptr_t)&tags[1], 1 };
	CHECK(inline_call(REGISTER, rings.fd, 13, (long)table, sizeof table, 0, 0) == 0); // IORING_REGISTER_FILES2
	add(&rings, 22, 0, buffer, sizeof buffer);
	set(&rings, 0, 22 | 1 << 8); // IOSQE_FIXED_FILE
	CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
	CHECK(inline_call(REGISTER, rings.fd, 14, (long)update, sizeof update, 0, 0) == 1); // IORING_REGISTER_FILES_UPDATE2
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		CHECK(wait_for(pid) == 0);
		CHECK(__atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE) == 0);
	}
	CHECK(write(ends[1], "12345678", 8) == 8);
	CHECK(inline_call(ENTER, rings.fd, 0, 2, 1, 0, 0) == 0);
	CHECK(*(uint64_t *)(rings.cqes + 16) == 7);
	CHECK(reap(&rings) == 8 && reap(&rings) == 0);
	return 0;
}

// How many threads of this process are workers of the engine.
static int workers(void)
{
	int count = 0;
	DIR *tasks = opendir("/proc/self/task");
	CHECK(tasks != NULL);
	for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
		char path[300], name[32] = "";
		snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
		FILE *file = fopen(path, "r");
		if (file != NULL && fgets(name, sizeof name, file) != NULL)
			count += strcmp(name, "ringer-worker\n") == 0;
		if (file != NULL)
			fclose(file);
	}
	closedir(tasks);
	return count;
}

// Many writes to one file are for one worker, in their order; it does not wait with others at the file. That they are for workers at all
// is because the size of files is limited.
static int writes_by_one_worker(void)
{
	enum { LONG = 32 << 20, SHORT = 35 };
	static char bytes[SHORT], found[SHORT];
	struct rlimit limit = { 1 << 30, 1 << 30 };
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	struct queue rings = queue();
	int file = memfd_create("file", 0);
	char *first = malloc(LONG);
	CHECK(file >= 0 && first != NULL && fcntl(file, F_SETFL, O_APPEND) == 0);
	memset(first, '-', LONG);
	for (int index = 0; index <= SHORT; index++) {
		if (index < SHORT)
			bytes[index] = 'A' + index;
		// IORING_OP_WRITE
		add(&rings, 23, file, index == 0 ? first : bytes + index - 1, index == 0 ? LONG : 1);
		if (index % 4 == 3)
			CHECK(inline_call(ENTER, rings.fd, 4, 0, 0, 0, 0) == 4);
	}
	for (int index = 0; index <= SHORT; index++) {
		if (*rings.cq_head == __atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE))
			CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0);
		CHECK(reap(&rings) == (index == 0 ? LONG : 1));
	}
	CHECK(workers() == 1);
	CHECK(pread(file, found, SHORT, LONG) == SHORT && memcmp(found, bytes, SHORT) == 0);
	return 0;
}

// Writes that end on the device are for workers: side by side, but one after the other where they overlap.
static int synchronous_writes(void)
{
	enum { LONG = 32 << 20, WRITE = 23, RWF_DATA_SYNC = 2 };
	struct queue rings = queue();
	int file = memfd_create("file", 0);
	char *bytes = malloc(LONG), found = 0;
	CHECK(file >= 0 && bytes != NULL);
	memset(bytes, '-', LONG);
	for (int overlap = 1; overlap >= 0; overlap--) {
		for (int index = 0; index < 2; index++) {
			add(&rings, WRITE, file, index == 0 ? bytes : "x", index == 0 ? LONG : 1);
			set(&rings, 8, index == 0 ? 0 : LONG - overlap);
			set(&rings, 28, RWF_DATA_SYNC);
		}
		CHECK(inline_call(ENTER, rings.fd, 2, 2, 1, 0, 0) == 2);
		int results[2] = { reap(&rings), reap(&rings) };
		CHECK(results[0] + results[1] == LONG + 1);
		CHECK(pread(file, &found, 1, LONG - overlap) == 1 && found == 'x');
		// One may have done both before the other one has begun.
		for (int tries = 0; tries < 500 && workers() < 2 - overlap; tries++)
			usleep(2000);
		CHECK(workers() == 2 - overlap);
	}
	return 0;
}

// A program sets limits for workers that end by themselves and for those that may wait: one kind does not wait for the other.
static int limits_workers(void)
{
	enum { LONG = 16 << 20, WRITE = 23, RWF_DATA_SYNC = 2, MAX_WORKERS = 19 };
	char directory[] = P_tmpdir "/ringer-limit-XXXXXX", fifo[sizeof directory + 5];
	CHECK(mkdtemp(directory) != NULL);
	sprintf(fifo, "%s/fifo", directory);
	CHECK(mkfifo(fifo, 0600) == 0);
	struct queue rings = queue();
	uint32_t limits[2] = { 1, 1 };
	CHECK(inline_call(REGISTER, rings.fd, MAX_WORKERS, (long)limits, 2, 0, 0) == 0);
	int file = memfd_create("file", 0);
	char *bytes = calloc(1, LONG);
	CHECK(file >= 0 && bytes != NULL);
	for (int index = 0; index < 3; index++) {
		add(&rings, WRITE, file, bytes, LONG);
		set(&rings, 8, index * LONG);
		set(&rings, 28, RWF_DATA_SYNC);
	}
	CHECK(inline_call(ENTER, rings.fd, 3, 3, 1, 0, 0) == 3);
	CHECK(reap(&rings) == LONG && reap(&rings) == LONG && reap(&rings) == LONG);
	CHECK(workers() == 1);
	add_waiting(&rings, fifo);
	add(&rings, WRITE, file, bytes, 1);
	set(&rings, 28, RWF_DATA_SYNC);
	CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1);
	CHECK(reap(&rings) == 1);
	int writer = open(fifo, O_WRONLY | O_NONBLOCK);
	CHECK(writer >= 0 && inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0);
	int reader = reap(&rings);
	CHECK(reader >= 0 && close(reader) == 0 && close(writer) == 0);
	CHECK(unlink(fifo) == 0 && rmdir(directory) == 0);
	return 0;
}

// How often the other threads of this process gave up their CPU.
static long switches_of_others(void)
{
	long sum = 0;
	DIR *tasks = opendir("/proc/self/task");
	CHECK(tasks != NULL);
	for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
		char path[300], line[200];
		if (task->d_name[0] == '.' || atoi(task->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
		FILE *status = fopen(path, "r");
		while (status != NULL && fgets(line, sizeof line, status) != NULL)
			if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
				sum += atol(line + 24);
		if (status != NULL)
			fclose(status);
	}
	closedir(tasks);
	return sum;
}

// Neither rings without work nor a read that waits wake anybody.
static int sleeps_while_idle(void)
{
	struct queue rings = queue(), waits = queue();
	int ends[2];
	char bytes[8];
	CHECK(pipe(ends) == 0);
	add(&waits, 22, ends[0], bytes, 8);
	CHECK(inline_call(ENTER, waits.fd, 1, 0, 0, 0, 0) == 1);
	for (int round = 0; round < 100; round++) {
		add(&rings, 0, -1, NULL, 0);
		CHECK(inline_call(ENTER, rings.fd, 1, 1, 1, 0, 0) == 1 && reap(&rings) == 0);
	}
	usleep(300 * 1000);
	long before = switches_of_others();
	usleep(1000 * 1000);
	long more = switches_of_others() - before;
	printf("%ld\n", more);
	// A thread that was started for this may end.
	CHECK(more <= 1);
	CHECK(write(ends[1], "12345678", 8) == 8);
	for (int round = 0; round < 1000 && *waits.cq_head == __atomic_load_n(waits.cq_tail, __ATOMIC_ACQUIRE); round++)
		usleep(1000);
	CHECK(reap(&waits) == 8);
	return 0;
}

// A count of /proc/self/io, -1 where it cannot be had.
static long io_count(const char *name)
{
	FILE *file = fopen("/proc/self/io", "r");
	char found[32];
	long value = -1, last = -1;
	while (file && last < 0 && fscanf(file, "%31s %ld", found, &value) == 2)
		last = strcmp(found, name) == 0 ? value : -1;
	if (file)
		fclose(file);
	return last;
}

// Adjacent transfers of one submission are one system call.
static int transfers_together(void)
{
	static char bytes[4 * 4096], seen[4 * 4096];
	struct queue rings = queue();
	FILE *file = tmpfile();
	CHECK(file);
	for (size_t index = 0; index < sizeof bytes; index++)
		bytes[index] = (char)(index / 7);
	// WRITE and READ; from the second round on it is known what kind of file it is.
	for (int round = 0; round < 4; round++) {
		int is_read = round % 2;
		const char *name = is_read ? "syscr:" : "syscw:";
		long alone = io_count(name);
		alone = io_count(name) - alone;
		long before = io_count(name);
		for (long part = 0; part < 4; part++) {
			add(&rings, is_read ? 22 : 23, fileno(file), (is_read ? seen : bytes) + part * 4096, 4096);
			long offset = part * 4096;
			memcpy(rings.sqes + part * 64 + 8, &offset, 8);
		}
		CHECK(inline_call(ENTER, rings.fd, 4, 4, 1, 0, 0) == 4);
		for (int part = 0; part < 4; part++)
			CHECK(reap(&rings) == 4096);
		long more = io_count(name) - before - alone;
		printf("%s %ld\n", name, more);
		CHECK(before < 0 || more == 1);
	}
	CHECK(memcmp(bytes, seen, sizeof bytes) == 0);
	fclose(file);
	return 0;
}

// Reads of a registered file, four in a submission: what the engine may copy from a mapping.
enum { PART = 4096, PARTS = 64, TAIL = 100, SIZE = PARTS * PART + TAIL };

static char part_byte(long at)
{
	return (char)(at / 7 + at / PART);
}

static void write_parts(int fd)
{
	static char bytes[SIZE];
	for (long at = 0; at < SIZE; at++)
		bytes[at] = part_byte(at);
	CHECK(pwrite(fd, bytes, SIZE, 0) == SIZE);
}

// The descriptor of what is read from; -1 for the registered file.
static int read_from = -1;

// Reads at four places; how much each was goes to `results`.
static void read_four(struct queue *rings, uint8_t opcode, const long *places, char (*seen)[PART], int *results)
{
	for (int index = 0; index < 4; index++) {
		char *sqe = rings->sqes + (*rings->sq_tail & 3) * 64;
		add(rings, opcode, read_from < 0 ? 0 : read_from, seen[index], PART);
		sqe[1] = read_from < 0; // IOSQE_FIXED_FILE
		memcpy(sqe + 8, &places[index], 8);
	}
	CHECK(inline_call(ENTER, rings->fd, 4, 4, 1, 0, 0) == 4);
	for (int index = 0; index < 4; index++)
		results[index] = reap(rings);
}

static struct queue queue_with_file(int fd, char (*seen)[PART])
{
	struct queue rings = queue();
	struct iovec buffer = { seen, 4 * PART };
	CHECK(inline_call(REGISTER, rings.fd, 2, (long)&fd, 1, 0, 0) == 0); // IORING_REGISTER_FILES
	CHECK(inline_call(REGISTER, rings.fd, 0, (long)&buffer, 1, 0, 0) == 0); // IORING_REGISTER_BUFFERS
	return rings;
}

static int is_extended_file_system(int fd)
{
	struct statfs system;
	return fstatfs(fd, &system) == 0 && system.f_type == 0xef53;
}

static int reads_of_a_file(int is_registered)
{
	static char seen[4][PART];
	FILE *file = tmpfile();
	CHECK(file);
	int fd = fileno(file), results[4];
	read_from = is_registered ? -1 : fd;
	write_parts(fd);
	// The first read notes the access, which must be later than the last write.
	usleep(30000);
	struct queue rings = queue_with_file(fd, seen);
	long more = 1;
	for (long round = 0; round < 200; round++) {
		long places[4], alone = io_count("syscr:");
		alone = io_count("syscr:") - alone;
		long before = io_count("syscr:");
		for (int index = 0; index < 4; index++)
			places[index] = (round * 31 + index * 13) % PARTS * PART + round % 3;
		read_four(&rings, round % 2 ? 22 : 4, places, seen, results);
		more = io_count("syscr:") - before - alone;
		for (int index = 0; index < 4; index++) {
			CHECK(results[index] == PART || places[index] + PART > SIZE);
			for (int at = 0; at < results[index]; at++)
				CHECK(seen[index][at] == part_byte(places[index] + at));
		}
	}
	printf("calls for four reads: %ld\n", more);
	CHECK(more <= 0 || !is_extended_file_system(fd));

	// The end of the file, behind it, a bad place, and one that is good.
	long places[4] = { SIZE - TAIL - 10, SIZE, -2, 5 };
	read_four(&rings, 22, places, seen, results);
	CHECK(results[0] == TAIL + 10 && results[1] == 0 && results[2] == -EINVAL && results[3] == PART);
	CHECK(seen[3][0] == part_byte(5));

	// Memory that cannot be written, and memory outside of the registered buffer.
	char (*bad)[PART] = mmap(NULL, 4 * PART, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long good[4] = { 0, PART, 2 * PART, 3 * PART };
	for (uint8_t opcode = 4; opcode <= 22; opcode += 18) {
		read_four(&rings, opcode, good, bad, results);
		for (int index = 0; index < 4; index++)
			CHECK(results[index] == -EFAULT);
	}

	// What was written is there, and what was cut off is not.
	CHECK(pwrite(fd, "changed", 7, 3 * PART) == 7);
	read_four(&rings, 22, good, seen, results);
	CHECK(results[3] == PART && memcmp(seen[3], "changed", 7) == 0);
	CHECK(ftruncate(fd, 2 * PART + 8) == 0);
	for (int round = 0; round < 3; round++) {
		read_four(&rings, 22, good, seen, results);
		CHECK(results[1] == PART && results[2] == 8 && results[3] == 0);
		usleep(20000);
	}
	CHECK(ftruncate(fd, SIZE) == 0);
	read_four(&rings, 22, good, seen, results);
	CHECK(results[3] == PART && seen[3][0] == 0 && seen[2][7] == part_byte(2 * PART + 7) && seen[2][8] == 0);

	// Direct I/O, switched on later.
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_DIRECT) == 0) {
		long odd[4] = { 1, 2, 3, 4 };
		ssize_t plain = pread(fd, seen[0] + 1, PART - 1, 1);
		int expected = plain < 0 ? -errno : PART;
		read_four(&rings, 22, odd, seen, results);
		for (int index = 0; index < 4; index++)
			CHECK(results[index] == expected);
		CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT) == 0);
	}

	// Another file of the same number, which no library hears of.
	FILE *other = tmpfile();
	CHECK(other && pwrite(fileno(other), "another", 7, 0) == 7);
	CHECK(inline_call(SYS_dup2, fileno(other), fd, 0, 0, 0, 0) == fd);
	read_four(&rings, 22, (long[4]) { 0, 0, 0, 0 }, seen, results);
	CHECK(results[3] == (is_registered ? PART : 7));
	CHECK(is_registered || memcmp(seen[3], "another", 7) == 0);
	fclose(other);
	fclose(file);
	return 0;
}

static int reads_of_a_registered_file(void)
{
	return reads_of_a_file(1);
}

static int reads_of_a_file_of_the_program(void)
{
	return reads_of_a_file(0);
}

static volatile int stop_truncating;

static void *truncates(void *argument)
{
	int fd = (int)(intptr_t)argument;
	while (!stop_truncating) {
		CHECK(ftruncate(fd, 5 * PART + 50) == 0);
		write_parts(fd);
		// Long enough for reads that note no access.
		usleep(15000);
	}
	return NULL;
}

// A file that becomes shorter and longer again while it is read: what is read is the file's, or zeros where it was cut off.
static int reads_of_a_changing_file(void)
{
	static char seen[4][PART];
	FILE *file = tmpfile();
	CHECK(file);
	int fd = fileno(file), results[4];
	write_parts(fd);
	struct queue rings = queue_with_file(fd, seen);
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, truncates, (void *)(intptr_t)fd) == 0);
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	long round = 0;
	do {
		long places[4];
		for (int index = 0; index < 4; index++)
			places[index] = (round * 31 + index * 13) % PARTS * PART;
		read_four(&rings, 22, places, seen, results);
		for (int index = 0; index < 4; index++) {
			CHECK(results[index] >= 0 && results[index] <= PART);
			// Never less than what always is there.
			CHECK(results[index] == PART || places[index] + PART > 5 * PART + 50);
			for (int at = 0; at < results[index]; at++) {
				int is_cut = places[index] + at >= 5 * PART + 50;
				CHECK(seen[index][at] == part_byte(places[index] + at) || (is_cut && seen[index][at] == 0));
			}
		}
		round++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < 2);
	stop_truncating = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	fclose(file);
	return 0;
}

// Direct transfers, of which the engine hears without a signal once they were waited for often enough. A large one takes so long
// that other things happen meanwhile, which must end a wait as ever.
enum { LARGE = 32 << 20 };

static volatile sig_atomic_t handled;

static void on_user_signal(int signal)
{
	(void)signal;
	handled = 1;
}

struct meanwhile {
	struct queue *queue;
	pthread_t waiter;
	int pipe[2];
};

static void *writes_to_pipe(void *argument)
{
	struct meanwhile *meanwhile = argument;
	usleep(2000);
	CHECK(write(meanwhile->pipe[1], "12345678", 8) == 8);
	return NULL;
}

static void *submits_nop(void *argument)
{
	struct meanwhile *meanwhile = argument;
	usleep(2000);
	add(meanwhile->queue, 0, -1, NULL, 0);
	CHECK(inline_call(ENTER, meanwhile->queue->fd, 1, 0, 0, 0, 0) == 1);
	return NULL;
}

static void *sends_signal(void *argument)
{
	struct meanwhile *meanwhile = argument;
	usleep(2000);
	CHECK(pthread_kill(meanwhile->waiter, SIGUSR1) == 0);
	return NULL;
}

static void *waits_too(void *argument)
{
	struct meanwhile *meanwhile = argument;
	CHECK(inline_call(ENTER, meanwhile->queue->fd, 0, 1, 1, 0, 0) == 0);
	return NULL;
}

static void wait_for_small(struct queue *rings, int file, char *buffer, long round)
{
	long offset = round % 64 * 4096;
	char *sqe = rings->sqes + (*rings->sq_tail & 3) * 64;
	add(rings, 22, file, buffer, 4096);
	memcpy(sqe + 8, &offset, 8);
	CHECK(inline_call(ENTER, rings->fd, 1, 1, 1, 0, 0) == 1);
	CHECK(reap(rings) == 4096 && buffer[0] == part_byte(offset) && buffer[4095] == part_byte(offset + 4095));
}

static int waits_for_a_device(void)
{
	FILE *file = tmpfile();
	CHECK(file && ftruncate(fileno(file), LARGE) == 0);
	write_parts(fileno(file));
	char path[64], small[16], *buffer = NULL;
	CHECK(posix_memalign((void **)&buffer, 4096, LARGE) == 0);
	memset(buffer, 1, LARGE);
	CHECK(pwrite(fileno(file), buffer, LARGE - PARTS * PART, PARTS * PART) == LARGE - PARTS * PART);
	CHECK(fsync(fileno(file)) == 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fileno(file));
	int direct = open(path, O_RDONLY | O_DIRECT);
	if (direct < 0)
		return 77;
	struct queue rings = queue();
	struct meanwhile meanwhile = { .queue = &rings, .waiter = pthread_self() };
	struct sigaction action = { .sa_handler = on_user_signal };
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && pipe(meanwhile.pipe) == 0);
	for (long round = 0; round < 40; round++)
		wait_for_small(&rings, direct, buffer, round);
	// Nobody waits: what is on its way completes all the same, and is seen without a call.
	for (long round = 0; round < 5; round++) {
		for (long wait = 0; wait < 12; wait++)
			wait_for_small(&rings, direct, buffer, wait);
		add(&rings, 22, direct, buffer, 4096);
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
		for (int look = 0; look < 5000 && __atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE) == *rings.cq_head; look++)
			usleep(1000);
		CHECK(reap(&rings) == 4096);
	}
	// One thread waits already when another one submits, and goes away.
	for (long round = 0; round < 5; round++) {
		for (long wait = 0; wait < 12; wait++)
			wait_for_small(&rings, direct, buffer, wait);
		pthread_t waiter;
		CHECK(pthread_create(&waiter, NULL, waits_too, &meanwhile) == 0);
		usleep(3000);
		add(&rings, 22, direct, buffer, 4096);
		CHECK(inline_call(ENTER, rings.fd, 1, 0, 0, 0, 0) == 1);
		CHECK(pthread_join(waiter, NULL) == 0);
		CHECK(reap(&rings) == 4096);
	}
	void *(*const others[])(void *) = { writes_to_pipe, submits_nop, sends_signal, submits_nop };
	int seen[4] = { 0 };
	for (int kind = 0; kind < 4; kind++) {
		for (int round = 0; round < 10 && !seen[kind]; round++) {
			for (long wait = 0; wait < 12; wait++)
				wait_for_small(&rings, direct, buffer, wait);
			pthread_t other, waiter;
			handled = 0;
			if (kind == 3)
				CHECK(pthread_create(&waiter, NULL, waits_too, &meanwhile) == 0);
			add(&rings, 22, direct, buffer, LARGE);
			if (kind == 0)
				add(&rings, 22, meanwhile.pipe[0], small, 8);
			CHECK(pthread_create(&other, NULL, others[kind], &meanwhile) == 0);
			CHECK(inline_call(ENTER, rings.fd, 1 + (kind == 0), 1, 1, 0, 0) == 1 + (kind == 0));
			uint32_t there = __atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE) - *rings.cq_head;
			CHECK(pthread_join(other, NULL) == 0);
			if (kind == 3)
				CHECK(pthread_join(waiter, NULL) == 0);
			if (kind == 2) {
				// An interrupted wait leaves nothing behind that was not there.
				seen[kind] = handled && there == 0;
				CHECK(handled || there == 1);
			} else {
				int first = reap(&rings);
				CHECK(first == (kind == 0 ? 8 : 0) || first == LARGE);
				seen[kind] = first != LARGE && there == 1;
			}
			if (__atomic_load_n(rings.cq_tail, __ATOMIC_ACQUIRE) == *rings.cq_head)
				CHECK(inline_call(ENTER, rings.fd, 0, 1, 1, 0, 0) == 0);
			int last = reap(&rings);
			CHECK(last == LARGE || last == (kind == 0 ? 8 : 0));
		}
	}
	printf("seen %d %d %d %d\n", seen[0], seen[1], seen[2], seen[3]);
	fclose(file);
	return 0;
}

static int refused(void)
{
	struct params params;
	return setup(4, &params) == -EPERM ? 0 : 1;
}

// Calls that a filter must not make dearer, as a figure: nanoseconds of one getppid.
static int cost(void)
{
	struct timespec start, end;
	double best = 1e9;
	for (int round = 0; round < 20; round++) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		for (int count = 0; count < 20000; count++)
			inline_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
		clock_gettime(CLOCK_MONOTONIC, &end);
		double each = ((end.tv_sec - start.tv_sec) * 1e9 + end.tv_nsec - start.tv_nsec) / 20000;
		best = each < best ? each : best;
	}
	printf("%.0f\n", best);
	return 0;
}

// What is not cached is read by the thread that waits for it, if it is all that the thread waits for: no other one is woken.
static int waits_for_uncached_data(void)
{
	enum { ROUNDS = 16, READS = 48, STRIDE = 7 };
	struct timespec begun, ended;
	FILE *file = tmpfile();
	CHECK(file && ftruncate(fileno(file), PARTS * PART) == 0);
	write_parts(fileno(file));
	struct queue rings = queue();
	static char buffers[4][4096];
	long before = 0, cold = 0, more = 0;
	for (int round = 0; round < ROUNDS; round++) {
		CHECK(fsync(fileno(file)) == 0 && posix_fadvise(fileno(file), 0, 0, POSIX_FADV_DONTNEED) == 0);
		CHECK(posix_fadvise(fileno(file), 0, 0, POSIX_FADV_RANDOM) == 0);
		if (round == ROUNDS / 2) {
			before = switches_of_others();
			clock_gettime(CLOCK_MONOTONIC, &begun);
		}
		// Each time other numbers of reads, submitted by the call that waits or by one before.
		long last = io_count("read_bytes:"), at = 0;
		for (int read = 0; read < READS; read += 1 + round % 4) {
			int count = 1 + round % 4, submits = round / 4 % 2;
			long offsets[4];
			for (int index = 0; index < count; index++) {
				offsets[index] = at * 4096 % (PARTS * PART - 4096);
				at += STRIDE;
				add(&rings, 22, fileno(file), buffers[index], 4096);
				set(&rings, 8, offsets[index]);
				set(&rings, 32, index);
			}
			if (submits)
				CHECK(inline_call(ENTER, rings.fd, count, 0, 0, 0, 0) == count);
			CHECK(inline_call(ENTER, rings.fd, submits ? 0 : count, count, 1, 0, 0) == (submits ? 0 : count));
			for (int seen = 0; seen < count; seen++) {
				int index = *(int *)(rings.cqes + (*rings.cq_head & 7) * 16);
				CHECK(reap(&rings) == 4096);
				CHECK(buffers[index][0] == part_byte(offsets[index]));
				CHECK(buffers[index][4095] == part_byte(offsets[index] + 4095));
			}
		}
		cold += round >= ROUNDS / 2 && io_count("read_bytes:") > last;
	}
	clock_gettime(CLOCK_MONOTONIC, &ended);
	more = switches_of_others() - before;
	long time = (ended.tv_sec - begun.tv_sec) * 1000000 + (ended.tv_nsec - begun.tv_nsec) / 1000;
	printf("%ld of %d rounds read the device, in %ld us, with %ld switches\n", cold, ROUNDS / 2, time, more);
	// Of a slow device workers wait for the data.
	if (cold < ROUNDS / 2 || time > ROUNDS / 2 * READS * 1000)
		return 77;
	// Some threads go back to sleep first, and the one that looks after the ring looks now and then.
	CHECK(more < 70);
	return 0;
}

int main(int count, char **arguments)
{
	static const struct { const char *name; int (*run)(void); } cases[] = {
		{ "calls", calls }, { "blocked", blocked }, { "in_handler", in_handler }, { "own_fault", own_fault },
		{ "dies_of_fault", dies_of_fault }, { "dies_of_sent_fault", dies_of_sent_fault },
		{ "own_trap_handler", own_trap_handler }, { "forks", forks }, { "executes", executes },
		{ "spawns_closing", spawns_closing }, { "closes_all", closes_all }, { "ring", ring },
		{ "refused", refused }, { "cost", cost },
		{ "closes_what_was_waited_for", closes_what_was_waited_for }, { "shares_a_watch", shares_a_watch },
		{ "has_room_for_rings", has_room_for_rings },
		{ "drains_behind_workers", drains_behind_workers },
		{ "interrupts_workers", interrupts_workers }, { "catches_up", catches_up },
		{ "writes_by_one_worker", writes_by_one_worker }, { "synchronous_writes", synchronous_writes }, { "limits_workers", limits_workers }, { "tells_of_a_file_once", tells_of_a_file_once },
		{ "waits_for_either_file", waits_for_either_file }, { "waits_for_a_ring", waits_for_a_ring }, { "waits_for_an_inherited_ring", waits_for_an_inherited_ring }, { "files_among_rings", files_among_rings },
		{ "keeps_numbers", keeps_numbers },
		{ "shares_ring_over_fork", shares_ring_over_fork }, { "cancels_over_fork", cancels_over_fork },
		{ "leaves_timeouts", leaves_timeouts }, { "forks_among_threads", forks_among_threads },
		{ "restricts_over_fork", restricts_over_fork }, { "keeps_record_locks", keeps_record_locks },
		{ "changes_user", changes_user }, { "sleeps_while_idle", sleeps_while_idle },
		{ "transfers_together", transfers_together },
		{ "reads_of_a_registered_file", reads_of_a_registered_file },
		{ "reads_of_a_file_of_the_program", reads_of_a_file_of_the_program },
		{ "reads_of_a_changing_file", reads_of_a_changing_file },
		{ "waits_for_a_device", waits_for_a_device }, { "waits_for_uncached_data", waits_for_uncached_data },
	};
	self = realpath("/proc/self/exe", NULL);
	alarm(50);
	for (size_t index = 0; count > 1 && index < sizeof cases / sizeof *cases; index++)
		if (strcmp(cases[index].name, arguments[1]) == 0)
			return cases[index].run();
	fprintf(stderr, "no such case\n");
	return 2;
}
