//! Calls of the engine's threads that are interrupted, in a process of its own: it gets handlers.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::Duration;

use ringer_sys::interrupt::Work;
use ringer_sys::{Errno, UserAddress, call, fault, thread};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_call_that_waits_for_what_is_meant_ends_and_others_go_on() {
    fault::install_handlers().expect("signals have handlers");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let (tell, told) = mpsc::channel();
    let read = move || {
        let mut byte = [0_u8; 1];
        call::read(reader.as_raw_fd(), UserAddress::of(&raw mut byte), 1)
    };
    thread::spawn("interrupted", move || {
        for _ in 0..2 {
            let work = Work::begin();
            tell.send(Ok(work.clone())).expect("somebody listens");
            let result = loop {
                let result = work.while_waiting(&read);
                if result != Err(Errno::INTR) || !work.was_disturbed() {
                    break result;
                }
            };
            tell.send(Err(result)).expect("somebody listens");
        }
    })
    .expect("a thread");
    let next = || told.recv_timeout(LIMIT).expect("in time");
    let Ok(first) = next() else { panic!("no work") };
    // Until it ends: it may not have begun to wait.
    let result = loop {
        first.interrupt();
        match told.recv_timeout(Duration::from_millis(1)) {
            Ok(Err(result)) => break result,
            Ok(Ok(_)) => panic!("it did not wait"),
            Err(_) => {}
        }
    };
    assert_eq!(result, Err(Errno::INTR));
    let Ok(_second) = next() else { panic!("no work") };
    for _ in 0..20 {
        first.interrupt();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(told.try_recv().is_err(), "what is not meant goes on");
    writer.write_all(b"x").expect("room in the pipe");
    assert_eq!(next().expect_err("the result"), Ok(1));
}
