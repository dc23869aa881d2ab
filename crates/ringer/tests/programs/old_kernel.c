// Runs a program without what newer kernels have and what containers refuse: the calls that a kernel of the 4.18 series lacks, and
// those that need the right to trace (unless MAY_TRACE is defined). For intercept.rs.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DUPFD_QUERY = 1027, POPULATE_READ = 22, POPULATE_WRITE = 23 };

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define FAIL(number) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (number))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define CALL_FAILS(call, number) UNLESS(call, 1), FAIL(number)

static struct sock_filter code[] = {
	LOAD(nr),
	// Linux 5.3, 5.6, 5.8, 5.9, 5.11, 5.16, 6.5.
	CALL_FAILS(434, ENOSYS), // pidfd_open
	CALL_FAILS(437, ENOSYS), // openat2
	CALL_FAILS(439, ENOSYS), // faccessat2
	CALL_FAILS(436, ENOSYS), // close_range
	CALL_FAILS(441, ENOSYS), // epoll_pwait2
	CALL_FAILS(449, ENOSYS), // futex_waitv
	CALL_FAILS(451, ENOSYS), // cachestat
#ifndef MAY_TRACE
	CALL_FAILS(SYS_kcmp, EPERM),
	CALL_FAILS(SYS_process_vm_readv, EPERM),
	CALL_FAILS(SYS_process_vm_writev, EPERM),
#endif
	UNLESS(SYS_fcntl, 4),
	LOAD(args[1]),
	CALL_FAILS(DUPFD_QUERY, EINVAL),
	ALLOW,
	UNLESS(SYS_madvise, 5),
	LOAD(args[2]),
	CALL_FAILS(POPULATE_READ, EINVAL),
	CALL_FAILS(POPULATE_WRITE, EINVAL),
	ALLOW,
};

int main(int count, char **arguments)
{
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	if (count < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("old_kernel");
		return 2;
	}
	execv(arguments[1], arguments + 1);
	perror(arguments[1]);
	return 2;
}
