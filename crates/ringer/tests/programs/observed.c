// A program for trace.rs and chaos.rs: it makes requests of many kinds, one after the other, and prints the CQEs as it gets them.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) do { if (!(condition)) { \
	fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); _exit(1); } } while (0)

static int fd;
static char *rings;
static struct io_uring_sqe *sqes;
static struct io_uring_params params;
static unsigned prepared;

static unsigned *word(unsigned offset)
{
	return (unsigned *)(rings + offset);
}

static void make_ring(void)
{
	memset(&params, 0, sizeof params);
	fd = (int)syscall(SYS_io_uring_setup, 8, &params);
	CHECK(fd >= 0);
	size_t size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe) + 4096;
	rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	CHECK(rings != MAP_FAILED && (void *)sqes != MAP_FAILED);
	prepared = 0;
}

static struct io_uring_sqe *add(int opcode, int file, const void *address, unsigned length, uint64_t offset, uint64_t user_data)
{
	unsigned tail = *word(params.sq_off.tail), index = tail & (params.sq_entries - 1);
	memset(&sqes[index], 0, sizeof *sqes);
	sqes[index].opcode = (uint8_t)opcode;
	sqes[index].fd = file;
	sqes[index].addr = (uintptr_t)address;
	sqes[index].len = length;
	sqes[index].off = offset;
	sqes[index].user_data = user_data;
	word(params.sq_off.array)[index] = index;
	__atomic_store_n(word(params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	prepared++;
	return &sqes[index];
}

// Submits, waits for so many CQEs, and prints them. Returns the last result.
static int wait_for(unsigned count)
{
	int result = 0;
	while (count > 0) {
		int submitted = (int)syscall(SYS_io_uring_enter, fd, prepared, 1, IORING_ENTER_GETEVENTS, NULL, 0);
		CHECK(submitted >= 0 || errno == EINTR);
		prepared -= submitted > 0 ? (unsigned)submitted : 0;
		unsigned head = *word(params.cq_off.head);
		while (head != __atomic_load_n(word(params.cq_off.tail), __ATOMIC_ACQUIRE)) {
			struct io_uring_cqe *cqe = (struct io_uring_cqe *)(rings + params.cq_off.cqes) + (head & (params.cq_entries - 1));
			printf("%llu: %d%s\n", (unsigned long long)cqe->user_data, cqe->res, cqe->flags & IORING_CQE_F_MORE ? " more" : "");
			result = cqe->res;
			count -= count > 0;
			__atomic_store_n(word(params.cq_off.head), ++head, __ATOMIC_RELEASE);
		}
	}
	return result;
}

static char block[4096];

static void requests(const char *path)
{
	make_ring();
	add(IORING_OP_OPENAT, AT_FDCWD, path, 0600, 0, 1)->open_flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;
	int file = wait_for(1);
	if (file < 0)
		exit(3);
	memset(block, 'x', sizeof block);
	add(IORING_OP_WRITE, file, block, sizeof block, 0, 2);
	wait_for(1);
	add(IORING_OP_READ, file, block, sizeof block, 0, 3);
	wait_for(1);
	// Nothing is there: the link breaks.
	add(IORING_OP_READ, file, block, 100, 8192, 4)->flags = IOSQE_IO_LINK;
	add(IORING_OP_NOP, -1, NULL, 0, 0, 5);
	wait_for(2);
	int ends[2];
	CHECK(pipe(ends) == 0);
	struct io_uring_sqe *poll = add(IORING_OP_POLL_ADD, ends[0], NULL, IORING_POLL_ADD_MULTI, 0, 6);
	poll->poll32_events = POLLIN;
	prepared -= (unsigned)syscall(SYS_io_uring_enter, fd, prepared, 0, 0, NULL, 0);
	CHECK(write(ends[1], "a", 1) == 1);
	wait_for(1);
	add(IORING_OP_POLL_REMOVE, -1, (void *)6, 0, 0, 7);
	wait_for(2);
	struct timespec soon = { .tv_nsec = 1000000 };
	add(IORING_OP_TIMEOUT, -1, &soon, 1, 0, 8);
	wait_for(1);
	add(IORING_OP_NOP, -1, NULL, 0, 0, 9)->flags = IOSQE_CQE_SKIP_SUCCESS;
	add(IORING_OP_NOP, -1, NULL, 0, 0, 10);
	wait_for(1);
	add(IORING_OP_NOP, -1, NULL, 0, 0, 15);
	add(IORING_OP_NOP, -1, NULL, 0, 0, 16);
	wait_for(2);
	add(IORING_OP_MSG_RING, fd, NULL, 77, 12, 11);
	wait_for(2);
	add(IORING_OP_CLOSE, -1, NULL, 0, 0, 13);
	wait_for(1);
	CHECK(read(ends[0], block, 1) == 1);
	// Not done before this program is replaced.
	add(IORING_OP_READ, ends[0], block, 1, 0, 14);
	prepared -= (unsigned)syscall(SYS_io_uring_enter, fd, prepared, 0, 0, NULL, 0);
	fflush(stdout);
}

// Of a request that is held back.
static void cancels(void)
{
	make_ring();
	int zero = open("/dev/zero", O_RDONLY);
	CHECK(zero >= 0);
	add(IORING_OP_READ, zero, block, sizeof block, 0, 1);
	prepared -= (unsigned)syscall(SYS_io_uring_enter, fd, prepared, 0, 0, NULL, 0);
	add(IORING_OP_TIMEOUT_REMOVE, -1, (void *)1, 0, 0, 2);
	wait_for(1);
	add(IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 3);
	wait_for(2);
	// One that nobody waits for: the ring is closed with it.
	add(IORING_OP_READ, zero, block, sizeof block, 0, 4);
	prepared -= (unsigned)syscall(SYS_io_uring_enter, fd, prepared, 0, 0, NULL, 0);
	CHECK(close(fd) == 0);
}

// Completions come from another thread while this one is about to wait for them.
static void on_workers(void)
{
	make_ring();
	int zero = open("/dev/zero", O_RDONLY);
	CHECK(zero >= 0);
	for (unsigned round = 0; round < 10000; round++) {
		for (unsigned i = 0; i < 4; i++)
			add(IORING_OP_READ, zero, block, 8, 0, i)->flags = IOSQE_ASYNC;
		wait_for(4);
	}
}

int main(int count, char **arguments)
{
	alarm(50);
	if (count >= 2 && strcmp(arguments[1], "on-workers") == 0) {
		on_workers();
		return 0;
	}
	if (count >= 2 && strcmp(arguments[1], "cancels") == 0) {
		cancels();
		return 0;
	}
	if (count == 3 && strcmp(arguments[1], "requests") == 0) {
		requests(arguments[2]);
		pid_t child = fork();
		if (child == 0) {
			make_ring();
			add(IORING_OP_NOP, -1, NULL, 0, 0, 20);
			wait_for(1);
			fflush(stdout);
			_exit(0);
		}
		int status;
		CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
		execl("/proc/self/exe", arguments[0], "executed", NULL);
		return 1;
	}
	if (count == 2 && strcmp(arguments[1], "executed") == 0) {
		make_ring();
		add(IORING_OP_NOP, -1, NULL, 0, 0, 30);
		wait_for(1);
		fflush(stdout);
		// Never done.
		int ends[2];
		CHECK(pipe(ends) == 0);
		add(IORING_OP_READ, ends[0], block, 1, 0, 31);
		prepared -= (unsigned)syscall(SYS_io_uring_enter, fd, prepared, 0, 0, NULL, 0);
		return 7;
	}
	return 2;
}
