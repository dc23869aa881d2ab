// Programs for sites.rs: call sites of io_uring_enter in several forms. Each case calls its site before and after it may
// have been patched, checks what comes back and what must survive, and exits with 0.
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SETUP = 425, ENTER = 426, REGISTER = 427, GETEVENTS = 1, ENTRIES = 32 };

#define CHECK(condition) do { if (!(condition)) { \
	fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); _exit(1); } } while (0)

typedef long enter_function(long fd, long submit, long complete, long flags, void *argument, long size);

// The sites. Their functions are System V functions; what the kernel takes in r10 they move there.
#define FUNCTION(name) ".globl " #name "\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n"
#define END(name) ".cfi_endproc\n.size " #name ", . - " #name "\n"
// More code than a short jump reaches over, with no padding in it.
#define FULL(name) FUNCTION(name) ".rept 60\nlea 1(%rax), %rax\n.endr\nret\n" END(name)

#ifdef LIBRARY
__asm__(".text\n.p2align 4\n"
	FUNCTION(library_enter) "mov %rcx, %r10\nmov $426, %eax\nsyscall\nret\n" END(library_enter)
	".p2align 4\n" FUNCTION(library_end) "ret\n" END(library_end));
#else
__asm__(".text\n"
	// Padding behind the function.
	".p2align 4\n"
	FUNCTION(padded) "mov %rcx, %r10\nmov $426, %eax\nsyscall\nret\n" END(padded)
	".p2align 4\n"
	// The number is loaded far from the call.
	FUNCTION(far) "push %r15\n.cfi_adjust_cfa_offset 8\nmov $426, %r15d\nmov %rcx, %r10\ntest %edi, %edi\njs 1f\n"
	".rept 8\nlea 1(%r11), %r11\n.endr\n1:\nmov %r15d, %eax\nsyscall\npop %r15\n.cfi_adjust_cfa_offset -8\nret\n" END(far)
	".p2align 4\n"
	// Other system calls take the same way: the number is the seventh argument.
	FUNCTION(any) "mov %rcx, %r10\nmov 8(%rsp), %rax\nsyscall\nret\n" END(any)
	".p2align 4\n"
	// What is below the stack pointer stays.
	FUNCTION(red_zone) "mov %rcx, %r10\nmov $-128, %rax\n1:\nmov %rax, (%rsp, %rax)\nadd $8, %rax\njne 1b\n"
	"mov $426, %eax\nsyscall\nmov $-128, %rcx\n2:\ncmp %rcx, (%rsp, %rcx)\njne 3f\nadd $8, %rcx\njne 2b\nret\n"
	"3:\nmov $-1000, %rax\nret\n" END(red_zone)
	// No padding but one long no-operation that every call comes through, between full functions.
	FULL(full_1)
	FUNCTION(hopped) "mov %rcx, %r10\n.byte 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0\nmov $426, %eax\nsyscall\nret\n" END(hopped)
	FULL(full_2)
	// No padding; the instruction before the call can move, though it goes by its own address.
	FUNCTION(movable) "mov %rcx, %r10\nmov number(%rip), %eax\nsyscall\nret\n" END(movable)
	FULL(full_3)
	// No padding; only several instructions before the call make room together.
	FUNCTION(short_ones) "mov $426, %eax\nmov %rcx, %r10\nsyscall\nret\n" END(short_ones)
	FULL(full_9)
	// The same with a jump to the instruction behind the call: with no descriptor it is not made.
	FUNCTION(behind) "mov $-77, %rax\ntest %edi, %edi\njs 1f\nmov %rcx, %r10\nmov $426, %eax\nsyscall\n1:\nret\n" END(behind)
	FULL(full_4)
	// A jump to the call itself: what is before it cannot move.
	FUNCTION(onto) "mov %rcx, %r10\nmov $426, %eax\njmp 1f\nud2\nmov $1, %eax\n1:\nsyscall\nret\n" END(onto)
	FULL(full_5)
	// What is in reach has room for a short jump only, which reaches more.
	FUNCTION(chained) "mov %rcx, %r10\nmov $426, %eax\njmp 1f\nud2\n1:\nsyscall\nret\n.byte 0x0f, 0x1f, 0x40, 0\n"
	".rept 31\nlea 1(%rax), %rax\n.endr\nret\n.byte 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0\nret\n" END(chained)
	FULL(full_7)
	// Two sites, of which the second is looked at when the first has been patched.
	FUNCTION(twice) "mov %rcx, %r10\nmov $426, %eax\nsyscall\nmov %rax, -8(%rsp)\n"
	"xor %esi, %esi\nxor %edx, %edx\nmov $426, %eax\nsyscall\nmov -8(%rsp), %rax\nret\n" END(twice)
	".skip 13, 0x90\n"
	FULL(full_8)
	// Without bounds nothing is known.
	".globl unbounded\n.type unbounded, @function\nunbounded:\nmov %rcx, %r10\nmov $426, %eax\nsyscall\nret\n"
	FULL(full_6)
	// For the threads that come while it is being patched.
	".p2align 4\n"
	FUNCTION(hammered) "mov %rcx, %r10\nmov $426, %eax\nsyscall\nret\n" END(hammered)
	".p2align 4\n"
	// All registers before and after: general ones but rsp, then the flags, then vectors and masks.
	FUNCTION(registers)
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rdi\n"
	"mov %rdi, %rax\ncmpl $2, 1024(%rax)\njb 1f\n"
#define EACH16(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define EACH16_HIGH(f) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)
#define EACH8(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
// A program without an instruction of AVX-512 need not have its registers kept. And one without any for whole registers of AVX
// need not have their upper halves kept.
#if defined(NARROW) || defined(LOWER)
#define WIDE(code)
#else
#define WIDE(code) code
#endif
#ifdef LOWER
#define HALVES(code)
#else
#define HALVES(code) code
#endif
#define LOAD_Z(n) "vmovups 2048 + 64 * " #n "(%rax), %zmm" #n "\n"
#define SAVE_Z(n) "vmovups %zmm" #n ", 2048 + 64 * " #n "(%rcx)\n"
#define LOAD_K(n) "kmovq 4096 + 8 * " #n "(%rax), %k" #n "\n"
#define SAVE_K(n) "kmovq %k" #n ", 4096 + 8 * " #n "(%rcx)\n"
#define LOAD_Y(n) "vmovups 2048 + 64 * " #n "(%rax), %ymm" #n "\n"
#define SAVE_Y(n) "vmovups %ymm" #n ", 2048 + 64 * " #n "(%rcx)\n"
#define LOAD_X(n) "movups 2048 + 64 * " #n "(%rax), %xmm" #n "\n"
#define SAVE_X(n) "movups %xmm" #n ", 2048 + 64 * " #n "(%rcx)\n"
	WIDE(EACH16(LOAD_Z) EACH16_HIGH(LOAD_Z) EACH8(LOAD_K)) "jmp 3f\n"
	"1: cmpl $1, 1024(%rax)\njb 2f\n" HALVES(EACH16(LOAD_Y)) "jmp 3f\n"
	"2:\n" EACH16(LOAD_X)
	"3:\npush 1032(%rax)\npopfq\n"
	"mov (%rax), %rdi\nmov 8(%rax), %rsi\nmov 16(%rax), %rdx\nmov 24(%rax), %r10\nmov 32(%rax), %r8\nmov 40(%rax), %r9\n"
	"mov 48(%rax), %rbx\nmov 56(%rax), %rbp\nmov 64(%rax), %r12\nmov 72(%rax), %r13\nmov 80(%rax), %r14\nmov 88(%rax), %r15\n"
	"mov $426, %eax\n"
	"syscall\n"
	"pushfq\npop %r11\nmov (%rsp), %rcx\nlea 8192(%rcx), %rcx\n"
	"mov %rdi, (%rcx)\nmov %rsi, 8(%rcx)\nmov %rdx, 16(%rcx)\nmov %r10, 24(%rcx)\nmov %r8, 32(%rcx)\nmov %r9, 40(%rcx)\n"
	"mov %rbx, 48(%rcx)\nmov %rbp, 56(%rcx)\nmov %r12, 64(%rcx)\nmov %r13, 72(%rcx)\nmov %r14, 80(%rcx)\nmov %r15, 88(%rcx)\n"
	"mov %r11, 1032(%rcx)\ncld\ncmpl $2, 1024 - 8192(%rcx)\njb 1f\n"
	WIDE(EACH16(SAVE_Z) EACH16_HIGH(SAVE_Z) EACH8(SAVE_K)) "vzeroupper\njmp 3f\n"
	"1: cmpl $1, 1024 - 8192(%rcx)\njb 2f\n" HALVES(EACH16(SAVE_Y) "vzeroupper\n") "jmp 3f\n"
	"2:\n" EACH16(SAVE_X)
	"3:\npop %rdi\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n" END(registers)
	".p2align 4\n"
#ifdef LOWER
#define WIDEST "%ymm5"
#define IF_AVX512(code)
#else
#define WIDEST "%zmm5"
#define IF_AVX512(code) code
#endif
#ifdef LEAVES
	// Functions that use such registers and call nothing.
	FUNCTION(load_wide) "vmovups (%rdi), " WIDEST "\nret\n" END(load_wide)
	FUNCTION(store_wide) "vmovups " WIDEST ", (%rdi)\nret\n" END(store_wide)
#ifdef LOWER
	// One that clears the upper halves before it calls.
	FUNCTION(call_cleared) "vmovups (%rdi), %ymm5\nvmovups %ymm5, (%rdi)\nvzeroupper\ncall end_of_sites\nret\n" END(call_cleared)
#endif
	".p2align 4\n"
#endif
#ifdef CALLER
	// One that has something in them while it calls another one. It may jump over what would clear the upper halves.
	FUNCTION(call_wide) "push %rbx\n.cfi_adjust_cfa_offset 8\nmov %r9, %rbx\nvmovups (%rbx), " WIDEST "\n"
	IF_AVX512("vmovups (%rbx), %zmm17\nkmovq (%rbx), %k3\n")
	"xor %r9d, %r9d\ncmpq $0, 24(%rbx)\njne 1f\nvzeroupper\n1:\ncall padded\n"
	"vmovups " WIDEST ", 64(%rbx)\n" IF_AVX512("vmovups %zmm17, 128(%rbx)\nkmovq %k3, 192(%rbx)\n") "vzeroupper\n"
	"pop %rbx\n.cfi_adjust_cfa_offset -8\nret\n" END(call_wide)
	".p2align 4\n"
#endif
	FUNCTION(end_of_sites) "ret\n" END(end_of_sites)
	".section .rodata\nnumber: .long 426\n.text\n");

extern enter_function padded, far, red_zone, hopped, movable, short_ones, behind, onto, chained, twice, unbounded, hammered;
extern long any(long, long, long, long, void *, long, long number);
extern long registers(void *state);

static long inline_call(long number, long a, long b, long c, long d)
{
	return syscall(number, a, b, c, d, 0, 0);
}

struct ring {
	int fd;
	uint32_t *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask, next;
	uint8_t *sqes;
	struct { uint64_t user_data; int32_t result; uint32_t flags; } *cqes;
};

static struct ring make_ring(void)
{
	uint32_t params[30] = { 0 };
	struct ring ring = { .fd = (int)inline_call(SETUP, ENTRIES, (long)params, 0, 0) };
	CHECK(ring.fd >= 0);
	size_t size = params[25] + params[1] * 16 + 4096;
	uint8_t *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, 0);
	ring.sqes = mmap(NULL, ENTRIES * 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, 0x10000000);
	CHECK(base != MAP_FAILED && (void *)ring.sqes != MAP_FAILED);
	ring.sq_tail = (uint32_t *)(base + params[11]);
	ring.sq_mask = (uint32_t *)(base + params[12]);
	ring.sq_array = (uint32_t *)(base + params[16]);
	ring.cq_head = (uint32_t *)(base + params[20]);
	ring.cq_tail = (uint32_t *)(base + params[21]);
	ring.cq_mask = (uint32_t *)(base + params[22]);
	ring.cqes = (void *)(base + params[25]);
	return ring;
}

static void put_nop(struct ring *ring)
{
	uint32_t tail = *ring->sq_tail, index = tail & *ring->sq_mask;
	memset(ring->sqes + index * 64, 0, 64);
	uint64_t user_data = ring->next++;
	memcpy(ring->sqes + index * 64 + 32, &user_data, 8);
	ring->sq_array[index] = index;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

// Takes what is there and checks that it came in order.
static void take(struct ring *ring, uint32_t count)
{
	uint32_t head = *ring->cq_head;
	CHECK(__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - head == count);
	for (uint32_t index = 0; index < count; index++, head++) {
		CHECK(ring->cqes[head & *ring->cq_mask].user_data == ring->next - count + index);
		CHECK(ring->cqes[head & *ring->cq_mask].result == 0);
	}
	__atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
}

static void some_calls(enter_function *enter, struct ring *ring)
{
	for (int round = 0; round < 50; round++) {
		int count = 1 + round % 7;
		for (int index = 0; index < count; index++)
			put_nop(ring);
		errno = 55;
		CHECK(enter(ring->fd, count, count, GETEVENTS, NULL, 0) == count && errno == 55);
		take(ring, count);
		CHECK(enter(-1, 0, 0, 0, NULL, 0) == -EBADF || enter == behind);
	}
}

static int site(enter_function *enter)
{
	struct ring ring = make_ring();
	some_calls(enter, &ring);
	pid_t child = fork();
	if (child == 0) {
		struct ring own = make_ring();
		some_calls(enter, &own);
		_exit(0);
	}
	int status;
	CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
	some_calls(enter, &ring);
	return 0;
}

static int jump_behind(void)
{
	CHECK(behind(-1, 0, 0, 0, NULL, 0) == -77);
	site(behind);
	CHECK(behind(-1, 0, 0, 0, NULL, 0) == -77);
	return 0;
}

static int other_calls(void)
{
	struct ring ring = make_ring();
	uint8_t probe[16 + 8 * 64];
	for (int round = 0; round < 20; round++) {
		memset(probe, 0, sizeof probe);
		CHECK(any(0, 0, 0, 0, NULL, 0, SYS_getpid) == getpid());
		put_nop(&ring);
		CHECK(any(ring.fd, 1, 1, GETEVENTS, NULL, 0, ENTER) == 1);
		take(&ring, 1);
		CHECK(any(ring.fd, 8, (long)probe, 64, NULL, 0, REGISTER) == 0 && probe[0] > 30);
		CHECK(any(-1, 0, 0, 0, NULL, 0, SYS_close) == -EBADF);
		// A child that comes back from the same call with the same stack contents of its own.
		long child = any(SIGCHLD, 0, 0, 0, NULL, 0, SYS_clone);
		if (child == 0)
			_exit(7);
		int status;
		CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && WEXITSTATUS(status) == 7);
	}
	return 0;
}

// Whether upper halves of vector registers are in use, where the processor tells.
static int uses_upper_halves(void)
{
	uint32_t a, b, c, d;
	if (!__get_cpuid_count(0xd, 1, &a, &b, &c, &d) || (a & 4) == 0)
		return 0;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(1));
	return a & 4;
}

static int all_registers(void)
{
	struct ring ring = make_ring();
	uint64_t *state = aligned_alloc(64, 16384);
	__builtin_cpu_init();
#if defined(LOWER)
	int width = 0;
#elif defined(NARROW)
	int width = __builtin_cpu_supports("avx") ? 1 : 0;
#else
	int width = __builtin_cpu_supports("avx512bw") ? 2 : __builtin_cpu_supports("avx") ? 1 : 0;
#endif
	// Carry, parity, adjust, zero, sign, overflow in all combinations, on top of what is always set; then the direction.
	// From round 260 on one word of one register is not zero, each in its turn.
	for (int round = 0; round < 260 + 16 * 8; round++) {
		int wide = round & 1 || round >= 260 ? width : 0;
		for (int index = 0; index < 2048; index++)
			state[index] = (uint64_t)(index + 1) * 0x9e3779b97f4a7c15ull * (uint64_t)(round + 1);
		if (round >= 260) {
			memset(state + 256, 0, 16 * 64);
			state[256 + round - 260] = 1ull << round % 64;
		}
		uint64_t flags = 0x202;
		for (int bit = 0; bit < 7; bit++)
			flags |= (uint64_t)(round >> (bit + 1) & 1) << ((const int[]) { 0, 2, 4, 6, 7, 11, 10 })[bit];
		*(int *)&state[128] = wide;
		state[129] = flags;
		put_nop(&ring);
		uint64_t call[] = { (uint64_t)ring.fd, 1, 1, GETEVENTS, 0, 0 };
		memcpy(state, call, sizeof call);
		int are_unused = 0;
		if (width > wide || (width == 0 && __builtin_cpu_supports("avx"))) {
			__asm__ volatile("vzeroupper" ::: "memory");
			are_unused = !uses_upper_halves();
		}
		CHECK(registers(state) == 1);
		// What was not in use is not: code of SSE would be slow from then on.
		CHECK(!are_unused || !uses_upper_halves());
		take(&ring, 1);
		uint64_t *after = state + 1024;
		CHECK(memcmp(state, after, 12 * 8) == 0);
		CHECK(after[129] == flags);
		size_t bytes = wide == 2 ? 64 : wide == 1 ? 32 : 16;
		for (int index = 0; index < (wide == 2 ? 32 : 16); index++)
			CHECK(memcmp(state + 256 + index * 8, after + 256 + index * 8, bytes) == 0);
		CHECK(wide < 2 || memcmp(state + 512, after + 512, 64) == 0);
	}
	return 0;
}

#if defined(LEAVES) || defined(CALLER)
extern void load_wide(const uint64_t *value), store_wide(uint64_t *value);
extern long call_wide(long fd, long submit, long complete, long flags, void *argument, uint64_t *values);

#ifdef LOWER
enum { ALL = 32, OF_NARROWER = 16 };
#define HAS_THEM __builtin_cpu_supports("avx")
#else
enum { ALL = 64, OF_NARROWER = 32 };
#define HAS_THEM __builtin_cpu_supports("avx512bw")
#endif

// Wide registers are kept for those who may have something in them, and only for those: that takes time.
static int wide_registers(void)
{
	struct ring ring = make_ring();
	some_calls(padded, &ring);
	__builtin_cpu_init();
	if (!HAS_THEM)
		return 0;
	uint64_t values[4 * 8];
	for (int round = 0; round < 50; round++) {
		memset(values, 0, sizeof values);
		for (int index = 0; index < 8; index++)
			values[index] = (uint64_t)(index + 1) * 0x9e3779b97f4a7c15ull * (uint64_t)(round + 1);
		put_nop(&ring);
#ifdef LEAVES
		load_wide(values);
		CHECK(padded(ring.fd, 1, 1, GETEVENTS, NULL, 0) == 1);
		store_wide(values + 8);
		__asm__ volatile("vzeroupper" ::: "memory");
		// All that the narrower one has of the register, and no more.
		CHECK(memcmp(values + 8, values, OF_NARROWER) == 0);
		for (int index = OF_NARROWER / 8; index < ALL / 8; index++)
			CHECK(values[8 + index] == 0);
#else
		CHECK(call_wide(ring.fd, 1, 1, GETEVENTS, NULL, values) == 1);
		CHECK(memcmp(values + 8, values, ALL) == 0);
		CHECK(ALL < 64 || (memcmp(values + 16, values, ALL) == 0 && values[24] == values[0]));
#endif
		take(&ring, 1);
	}
	return 0;
}
#endif

static pthread_barrier_t together;

static void *hammer(void *site)
{
	enter_function *call = (enter_function *)site;
	struct ring ring = make_ring();
	pthread_barrier_wait(&together);
	for (int round = 0; round < 3000; round++) {
		put_nop(&ring);
		CHECK(call(ring.fd, 1, 1, GETEVENTS, NULL, 0) == 1);
		take(&ring, 1);
	}
	return NULL;
}

static int threads_at(enter_function *site)
{
	enum { COUNT = 8 };
	pthread_t made[COUNT];
	CHECK(pthread_barrier_init(&together, NULL, COUNT) == 0);
	for (int index = 0; index < COUNT; index++)
		CHECK(pthread_create(&made[index], NULL, hammer, (void *)site) == 0);
	for (int index = 0; index < COUNT; index++)
		CHECK(pthread_join(made[index], NULL) == 0);
	return 0;
}

static int threads(void)
{
	return threads_at(hammered);
}

// What changes is the instruction before the call, which is not aligned to anything.
static int threads_before(void)
{
	return threads_at(movable);
}

static void *stay(void *unused)
{
	pause();
	return unused;
}

// One instruction can move whatever other threads do.
static int movable_with_threads(void)
{
	pthread_t other;
	CHECK(pthread_create(&other, NULL, stay, NULL) == 0);
	return site(movable);
}

// Nobody knows where the other thread is: several instructions before the call stay where they are.
static int short_ones_with_threads(void)
{
	pthread_t other;
	CHECK(pthread_create(&other, NULL, stay, NULL) == 0);
	return site(short_ones);
}

static int short_ones_with_handler(void)
{
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	CHECK(signal(SIGUSR1, (void (*)(int))abort) == SIG_IGN);
	return site(short_ones);
}

static struct ring shared;
static volatile int handled;

static void submit_in_handler(int signal)
{
	(void)signal;
	int before = errno;
	// The interrupted code may be anywhere but inside the engine. Its SQE is complete or not in the ring: the tail is stored last.
	uint32_t ready = *shared.sq_tail;
	(void)ready;
	CHECK(padded(shared.fd, 0, 0, GETEVENTS, NULL, 0) >= 0);
	handled++;
	errno = before;
}

static int handler(void)
{
	shared = make_ring();
	// The site is patched while there is no handler.
	some_calls(padded, &shared);
	struct sigaction action = { .sa_handler = submit_in_handler };
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	while (handled < 500)
		some_calls(padded, &shared);
	// A wait that only the signal ends.
	CHECK(padded(shared.fd, 0, 1, GETEVENTS, NULL, 0) == -EINTR);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	return 0;
}

static volatile int values, once;

static void count_value(int signal, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(signal == SIGUSR1 && info->si_code == SI_QUEUE && info->si_pid == getpid());
	values += info->si_value.sival_int;
	CHECK(padded(shared.fd, 0, 0, 0, NULL, 0) == 0);
}

static void count_once(int signal)
{
	(void)signal;
	once++;
}

static void *send_values(void *target)
{
	// One after the other: a signal that is pending already is not queued again.
	for (int round = 0; round < 1000; round++) {
		union sigval one = { .sival_int = 1 };
		CHECK(pthread_sigqueue(*(pthread_t *)target, SIGUSR1, one) == 0);
		while (values <= round)
			usleep(1);
	}
	return NULL;
}

// Signals that come while the thread is inside the engine: each is delivered once, with what came with it.
static int handlers(void)
{
	shared = make_ring();
	some_calls(padded, &shared);
	struct sigaction action = { .sa_sigaction = count_value, .sa_flags = SA_SIGINFO }, old;
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_sigaction == count_value && old.sa_flags & SA_SIGINFO);
	pthread_t sender, self = pthread_self();
	CHECK(pthread_create(&sender, NULL, send_values, &self) == 0);
	while (values < 1000)
		some_calls(padded, &shared);
	CHECK(pthread_join(sender, NULL) == 0);
	// One that is reset by its first signal, with the name of an older function.
	struct sigaction first = { .sa_handler = count_once, .sa_flags = (int)SA_RESETHAND };
	CHECK(sigaction(SIGUSR2, &first, NULL) == 0 && raise(SIGUSR2) == 0 && once == 1);
	CHECK(signal(SIGUSR2, count_once) == SIG_DFL && signal(SIGUSR2, SIG_IGN) == count_once);
	CHECK(raise(SIGUSR2) == 0 && once == 1 && signal(SIGUSR2, count_once) == SIG_IGN);
	// A signal that only the mask of the wait lets through: its handler has run when the call comes back.
	sigset_t blocked, none;
	sigemptyset(&none);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	CHECK(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0 && raise(SIGUSR2) == 0 && once == 1);
	CHECK(padded(shared.fd, 0, 1, GETEVENTS, &none, 8) == -EINTR && once == 2);
	sigset_t now;
	CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1));
	return 0;
}

static int reloaded(const char *path)
{
	for (int round = 0; round < 4; round++) {
		void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		if (library == NULL)
			fprintf(stderr, "%s\n", dlerror());
		CHECK(library != NULL);
		enter_function *enter = (enter_function *)dlsym(library, "library_enter");
		CHECK(enter != NULL);
		struct ring ring = make_ring();
		some_calls(enter, &ring);
		close(ring.fd);
		CHECK(dlclose(library) == 0);
	}
	return 0;
}

int main(int count, char **arguments)
{
	static const struct { const char *name; enter_function *enter; } sites[] = {
		{ "padded", padded }, { "far", far }, { "red_zone", red_zone }, { "hopped", hopped }, { "movable", movable },
		{ "short_ones", short_ones },
		{ "onto", onto }, { "chained", chained }, { "twice", twice }, { "unbounded", unbounded },
	};
	static const struct { const char *name; int (*run)(void); } cases[] = {
		{ "jump_behind", jump_behind }, { "other_calls", other_calls }, { "all_registers", all_registers },
		{ "threads", threads }, { "threads_before", threads_before }, { "movable_with_threads", movable_with_threads }, { "handler", handler }, { "handlers", handlers },
		{ "short_ones_with_threads", short_ones_with_threads },
		{ "short_ones_with_handler", short_ones_with_handler },
#if defined(LEAVES) || defined(CALLER)
		{ "wide_registers", wide_registers },
#endif
	};
	const char *name = count > 1 ? arguments[1] : "";
	if (strcmp(name, "handler") != 0)
		alarm(50);
	for (size_t index = 0; index < sizeof sites / sizeof *sites; index++)
		if (strcmp(sites[index].name, name) == 0)
			return site(sites[index].enter);
	for (size_t index = 0; index < sizeof cases / sizeof *cases; index++)
		if (strcmp(cases[index].name, name) == 0)
			return cases[index].run();
	if (strcmp(name, "reloaded") == 0 && count > 2)
		return reloaded(arguments[2]);
	fprintf(stderr, "no such case\n");
	return 2;
}
#endif
