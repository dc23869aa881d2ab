//! fio with `ioengine=io_uring`: it writes blocks with checksums, reads them back and compares.

use std::os::unix::fs::FileExt;

use serde_json::Value;

use super::Check;
use super::session::{Failure, Program, Ran, Session};
use super::summary::TRANSFERS;

const JOBS: u64 = 4;
const BLOCK: u64 = 4096;
const REPORT: &str = "report.json";

/// One way to run fio.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    /// Of each job's own file, in bytes.
    size: u64,
    /// More options.
    options: &'static [&'static str],
}

const MIB: u64 = 1 << 20;

/// Buffered and direct each.
const BOTH: &[Workload] = &[
    Workload { name: "plain", size: 8 * MIB, options: &[] },
    Workload { name: "registered", size: 8 * MIB, options: &["--registerfiles=1", "--fixedbufs=1"] },
    // With fewer processors than polling threads and jobs together the kernel itself is slow at this.
    Workload { name: "sqpoll", size: MIB, options: &["--sqthread_poll=1"] },
    Workload {
        name: "sqpoll-registered",
        size: MIB,
        options: &["--sqthread_poll=1", "--registerfiles=1", "--fixedbufs=1"],
    },
];

const BUFFERED: &[Workload] = &[
    Workload { name: "vectored", size: 8 * MIB, options: &["--nonvectored=0"] },
    Workload { name: "threads", size: 8 * MIB, options: &["--thread=1"] },
    Workload { name: "async", size: 4 * MIB, options: &["--force_async=4"] },
    Workload { name: "fsync", size: 2 * MIB, options: &["--fsync=16"] },
    Workload {
        name: "batches",
        size: 8 * MIB,
        options: &[
            "--iodepth_batch_submit=16",
            "--iodepth_batch_complete_min=8",
            "--iodepth_batch_complete_max=32",
        ],
    },
];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for (mode, direct, workloads) in
        [("buffered", false, BOTH), ("direct", true, BOTH), ("buffered", false, BUFFERED)]
    {
        for workload in workloads {
            let name = format!("fio/{mode}-{}", workload.name);
            checks.push(Check::new(name, move |session| verified(session, direct, workload)));
        }
    }
    checks.push(Check::new("fio/iopoll", iopoll));
    checks.push(Check::new("fio/corruption-is-seen", corruption_is_seen));
    checks
}

/// fio with what all runs have in common.
fn fio(session: &Session, direct: bool) -> Result<Program<'_>, Failure> {
    Ok(session
        .program("fio")?
        .args(["--name=job", "--ioengine=io_uring", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1"])
        .arg(format!("--bs={BLOCK}"))
        .arg(format!("--direct={}", u8::from(direct)))
        .args(["--output-format=json", &format!("--output={REPORT}")]))
}

/// Four jobs of mixed random reads and writes, each on its own file, which is then read back whole.
fn mixed<'a>(session: &'a Session, direct: bool, workload: &Workload) -> Result<Program<'a>, Failure> {
    Ok(fio(session, direct)?
        .args(["--rw=randrw", "--do_verify=1", "--directory=."])
        .arg(format!("--numjobs={JOBS}"))
        .arg(format!("--size={}", workload.size))
        .args(workload.options.iter().copied()))
}

fn verified(session: &Session, direct: bool, workload: &Workload) -> Result<(), Failure> {
    let ran = mixed(session, direct, workload)?.run()?;
    let totals = Totals::of(session, &ran)?;
    if !ran.succeeded() || !totals.errors.is_empty() {
        return Err(ran.failure(&format!("job errors {:?}", totals.errors)));
    }
    all_was_verified(&ran, &totals, workload.size)?;
    ran.served(totals.reads + totals.writes, TRANSFERS)
}

/// Every block was read or written once in the mixed phase, and each written one is read again.
fn all_was_verified(ran: &Ran<'_>, totals: &Totals, size: u64) -> Result<(), Failure> {
    let blocks = JOBS * size / BLOCK;
    if totals.jobs == JOBS && totals.writes > blocks / 4 && totals.reads == blocks {
        return Ok(());
    }
    Err(ran.failure(&format!("{totals:?} does not verify the writes of {JOBS} jobs and {blocks} blocks")))
}

/// Polled completion. A disk without poll queues refuses it; Ringer may serve it or refuse it alike.
fn iopoll(session: &Session) -> Result<(), Failure> {
    let workload = Workload { name: "iopoll", size: 4 * MIB, options: &["--hipri=1"] };
    let ran = mixed(session, true, &workload)?.run()?;
    let totals = Totals::of(session, &ran)?;
    if ran.succeeded() && totals.errors.is_empty() {
        all_was_verified(&ran, &totals, workload.size)?;
        return ran.served(totals.reads + totals.writes, TRANSFERS);
    }
    let refused = i64::from(rustix::io::Errno::OPNOTSUPP.raw_os_error());
    if totals.errors.len() as u64 == JOBS && totals.errors.iter().all(|error| *error == refused) {
        return ran.served(JOBS, TRANSFERS);
    }
    Err(ran.failure(&format!("job errors {:?}: neither served nor refused alike", totals.errors)))
}

/// The checks above are worth something only if fio does find a wrong byte.
fn corruption_is_seen(session: &Session) -> Result<(), Failure> {
    let size = MIB;
    let one_file = |direction: &str, verify: u8| -> Result<Program<'_>, Failure> {
        Ok(fio(session, false)?
            .args(["--filename=data", direction])
            .arg(format!("--size={size}"))
            .arg(format!("--do_verify={verify}")))
    };
    one_file("--rw=randwrite", 0)?.succeed()?.served(size / BLOCK, TRANSFERS)?;
    one_file("--rw=randread", 1)?.succeed()?.served(size / BLOCK, TRANSFERS)?;

    let file = std::fs::File::options().read(true).write(true).open(session.path("data"))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, size / 2 + 1000)?;
    file.write_all_at(&[byte[0] ^ 1], size / 2 + 1000)?;

    let ran = one_file("--rw=randread", 1)?.run()?;
    let totals = Totals::of(session, &ran)?;
    let mismatch = i64::from(rustix::io::Errno::ILSEQ.raw_os_error());
    if ran.succeeded() || totals.errors != [mismatch] {
        return Err(ran.failure(&format!("a wrong byte was not found, job errors {:?}", totals.errors)));
    }
    Ok(())
}

/// What fio reports of all its jobs.
#[derive(Debug, Default)]
struct Totals {
    jobs: u64,
    /// Of those jobs that failed.
    errors: Vec<i64>,
    reads: u64,
    writes: u64,
}

impl Totals {
    fn of(session: &Session, ran: &Ran<'_>) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(session.path(REPORT))
            .map_err(|error| ran.failure(&format!("no report: {error}")))?;
        // fio may print warnings before the report.
        let json = text.find('{').map_or("", |start| &text[start..]);
        let report: Value =
            serde_json::from_str(json).map_err(|error| ran.failure(&format!("bad report: {error}")))?;
        let mut totals = Self::default();
        for job in report["jobs"].as_array().map(Vec::as_slice).unwrap_or_default() {
            totals.jobs += 1;
            totals.errors.extend(job["error"].as_i64().filter(|error| *error != 0));
            totals.reads += job["read"]["total_ios"].as_u64().unwrap_or(0);
            totals.writes += job["write"]["total_ios"].as_u64().unwrap_or(0);
        }
        Ok(totals)
    }
}
