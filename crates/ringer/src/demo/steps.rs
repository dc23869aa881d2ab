//! The steps of the demo, in order, with their checks.

use std::ffi::OsString;
use std::time::Duration;

use super::DemoArgs;
use super::client::BLOCK;
use super::data::Workspace;
use super::event::Event;
use super::failure::Stop;
use super::interrupt::Interrupt;
use super::report::{Report, mebibytes, throughput};
use super::served::Served;
use super::work::{CONNECTIONS, Copied, Echoed, Work};

/// Runs all steps and cleans up.
pub fn all(args: &DemoArgs) -> Result<(), Stop> {
    let interrupt = Interrupt::watch().map_err(|error| Stop::io("watch for signals", &error))?;
    let report = Report::new(!args.no_progress);
    let outcome = in_order(args, &interrupt, &report);
    report.finish();
    outcome
}

fn in_order(args: &DemoArgs, interrupt: &Interrupt, report: &Report) -> Result<(), Stop> {
    let program =
        std::env::current_exe().map_err(|error| Stop::io("find the path of this program", &error))?;
    let (bytes, messages) = (args.bytes(), args.messages());
    report.line(format_args!(
        "ringer demo: copy {}, then echo {CONNECTIONS} x {messages} messages over loopback TCP",
        mebibytes(bytes),
    ))?;
    let workspace = Workspace::new(bytes, interrupt, report.work("making test data"))?;
    let limit = Duration::from_secs(args.limit);
    let work = Work { program, workspace, messages, limit, interrupt, report };

    report.line("\n1. io_uring blocked as Docker does, without ringer")?;
    blocked(&work)?;
    report.line("\n2. io_uring blocked as Docker does, under ringer")?;
    let ringer = under_ringer(&work)?;
    report.line("\n3. the kernel's own io_uring, to compare")?;
    match native(&work) {
        Ok(Ok(kernel)) => report.line(format_args!(
            "   ringer takes {:.2} x the kernel's time for the copy, {:.2} x for the echo (a single run, not a benchmark)",
            ringer.0.seconds / kernel.0.seconds,
            ringer.1.seconds / kernel.1.seconds,
        ))?,
        Ok(Err(refusal)) => report.line(format_args!("   not available here: {refusal}"))?,
        Err(Stop::Interrupted) => return Err(Stop::Interrupted),
        // What the kernel does is no check of Ringer.
        Err(Stop::Failed { what, .. }) => report.line(format_args!("   no comparison: {what}"))?,
    }
    work.workspace.remove()?;
    report.line("\ndemo: all checks passed")
}

/// The client must fail where io_uring is blocked, or the next step would prove nothing.
fn blocked(work: &Work) -> Result<(), Stop> {
    let run = ["run", "--when", "never", "--block-kernel", "--"].map(OsString::from);
    let outcome = work.start_copy(&run, "blocked", "copy, blocked")?;
    match &outcome.event {
        Some(Event::Refused { errno, .. })
            if *errno == rustix::io::Errno::PERM.raw_os_error() && !outcome.status.success() =>
        {
            work.report.ok("copy", "fails, as it must: io_uring_setup gives EPERM")
        }
        Some(Event::Copy { .. }) => Err(Stop::bug(
            "the copy worked although io_uring should be blocked: --block-kernel did not block it",
        )),
        _ => Err(Stop::failed(
            format!("the blocked copy should fail with EPERM from io_uring_setup, but: {}", outcome.reason()),
            "run `ringer probe` to see what this system allows",
        )),
    }
}

/// The same client and the same block, with Ringer: everything works, and Ringer did it.
fn under_ringer(work: &Work) -> Result<(Copied, Echoed), Stop> {
    let summaries = ["copy", "echo"].map(|name| work.workspace.path(&format!("summary-{name}.json")));
    let run = |summary: usize| {
        let mut run =
            ["run", "--when", "always", "--block-kernel", "--summary-json"].map(OsString::from).to_vec();
        run.extend([summaries[summary].clone().into(), "--".into()]);
        run
    };

    let outcome = work.start_copy(&run(0), "ringer", "copy under ringer")?;
    let copied = work.check_copy(&outcome, "ringer")?;
    work.check_source()?;
    let mut served = Served::read(&summaries[0])?;
    let blocks = work.workspace.length.div_ceil(BLOCK as u64);
    served.require(&[("READ", blocks), ("WRITE", blocks), ("FSYNC", 1)])?;
    report_copy(work, &copied)?;

    let outcome = work.start_echo(&run(1), "echo under ringer")?;
    let echoed = work.check_echo(&outcome)?;
    let of_echo = Served::read(&summaries[1])?;
    let transfers = 2 * echoed.messages;
    of_echo.require(&[
        ("ACCEPT", CONNECTIONS),
        ("CONNECT", CONNECTIONS),
        ("SEND", transfers),
        ("RECV", transfers),
    ])?;
    report_echo(work, &echoed)?;

    served.add(of_echo);
    work.report.line("   served by ringer:")?;
    for line in served.table() {
        work.report.line(format_args!("       {line}"))?;
    }
    Ok((copied, echoed))
}

/// The same work on the kernel's io_uring, or the reason why it refuses.
fn native(work: &Work) -> Result<Result<(Copied, Echoed), String>, Stop> {
    let outcome = work.start_copy(&[], "kernel", "copy on the kernel")?;
    if let Some(Event::Refused { message, .. }) = outcome.event {
        return Ok(Err(message));
    }
    let copied = work.check_copy(&outcome, "kernel")?;
    report_copy(work, &copied)?;
    let outcome = work.start_echo(&[], "echo on the kernel")?;
    let echoed = work.check_echo(&outcome)?;
    report_echo(work, &echoed)?;
    Ok(Ok((copied, echoed)))
}

fn report_copy(work: &Work, copied: &Copied) -> Result<(), Stop> {
    let rate = throughput(copied.bytes, copied.seconds);
    let (bytes, seconds) = (mebibytes(copied.bytes), copied.seconds);
    let (fsync, checksum) = (copied.fsync_seconds, copied.checksum);
    work.report.ok(
        "copy",
        format_args!(
            "{bytes:>14} in {seconds:>5.2} s  {rate:>12}  checksums equal ({checksum:08x}), {fsync:.2} s of it fsync"
        ),
    )
}

fn report_echo(work: &Work, echoed: &Echoed) -> Result<(), Stop> {
    let rate = format!("{:.0} /s", echoed.messages as f64 / echoed.seconds.max(1e-9));
    let (messages, seconds) = (format!("{} messages", echoed.messages), echoed.seconds);
    let (bytes, checksum) = (mebibytes(echoed.bytes), echoed.checksum);
    work.report.ok(
        "echo",
        format_args!(
            "{messages:>14} in {seconds:>5.2} s  {rate:>12}  checksums equal ({checksum:08x}), {bytes} each way"
        ),
    )
}
