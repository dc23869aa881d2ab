//! Runs of requests that come close behind each other, which two threads of the engine make.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use ringer_abi::{Opcode, SetupFlags, Sqe};
use ringer_client::calls::Embedded;
use ringer_client::ring::Ring;

const COUNT: usize = 32;
const CURRENT_DIRECTORY: RawFd = -100;
const READ_ONLY_CLOSE_ON_EXEC: u32 = 0o2_000_000;
const LIMIT: Duration = Duration::from_secs(20);
/// The helper's as the kernel tells it.
const NAME: &str = "ringer-helper\n";

/// Whether there is a helper: those that have runs close behind each other get one.
fn has_helper() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("the kernel tells of threads");
    // A thread that has ended meanwhile is none.
    threads
        .flatten()
        .any(|thread| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == NAME))
}

/// Submits them together. The results in the order of the completions, each of which is of one of them.
fn submit(ring: &mut Ring<Embedded>, sqes: impl Iterator<Item = Sqe>) -> Vec<i32> {
    let mut count = 0;
    for sqe in sqes {
        ring.push(&sqe.with_user_data(count)).expect("there is room");
        count += 1;
    }
    ring.submit_and_wait(count as u32).expect("they are served");
    let results: Vec<_> = std::iter::from_fn(|| ring.pop()).zip(0..).collect();
    assert_eq!(results.len(), count as usize);
    results
        .into_iter()
        .map(|(cqe, place)| {
            assert_eq!(cqe.user_data, place, "in the order of the requests, as without a helper");
            cqe.res
        })
        .collect()
}

fn close(file: RawFd) -> Sqe {
    Sqe::default().with_opcode(Opcode::Close.number()).with_fd(file)
}

#[test]
fn runs_have_the_same_results_with_a_helper_which_leaves_when_it_has_nothing_to_do() {
    let may_have_helper = std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
    if !may_have_helper {
        // Past the test harness's capture: a skip is always seen.
        let skipped = b"shared runs: skipped: 1 (there is one CPU: the runs are made without a helper)\n";
        std::io::stderr().write_all(skipped).expect("standard error is open");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let paths: Vec<CString> = (0..COUNT)
        .map(|file| {
            let path = directory.path().join(file.to_string());
            std::fs::write(&path, vec![b'.'; file]).expect("there is room");
            CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL")
        })
        .collect();
    let mut ring = Ring::<Embedded>::new(COUNT, SetupFlags::empty(), 0).expect("a ring");
    assert!(!has_helper());
    let end = Instant::now() + LIMIT;
    let mut rounds = 0;
    // Not looked for each time: it comes to runs that are close behind each other.
    while rounds < 2000 || may_have_helper && (rounds % 256 != 0 || !has_helper()) {
        rounds += 1;
        assert!(Instant::now() < end, "no helper has come in {rounds} rounds");
        let opens = paths.iter().map(|path| {
            let sqe = Sqe::default().with_opcode(Opcode::Openat.number()).with_fd(CURRENT_DIRECTORY);
            sqe.with_addr(path.as_ptr() as u64).with_op_flags(READ_ONLY_CLOSE_ON_EXEC)
        });
        let mut files = submit(&mut ring, opens);
        assert!(files.iter().all(|file| *file >= 0), "{files:?}");
        if rounds % 64 == 0 {
            for (size, file) in files.iter().enumerate() {
                let found = std::fs::metadata(format!("/proc/self/fd/{file}")).expect("it is open");
                assert_eq!(found.len(), size as u64, "each has the result of its own request");
            }
        }
        // One that is named twice is closed by the first.
        let twice = rounds % 64 == 0;
        let last = files.pop().expect("there are some");
        let mut expected = vec![0; COUNT];
        if twice {
            files.push(files[3]);
            expected[COUNT - 1] = -rustix::io::Errno::BADF.raw_os_error();
        } else {
            files.push(last);
        }
        assert_eq!(submit(&mut ring, files.iter().map(|file| close(*file))), expected);
        if twice {
            assert_eq!(submit(&mut ring, std::iter::once(close(last))), [0]);
        }
    }
    let end = Instant::now() + LIMIT;
    while has_helper() {
        assert!(Instant::now() < end, "the helper stays");
        std::thread::sleep(Duration::from_millis(50));
    }
}
