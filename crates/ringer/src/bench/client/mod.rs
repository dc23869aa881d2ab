//! The program that is measured: one run, one workload, one contender. It knows nothing of Ringer, except as
//! [`Contender::Embedded`]: what serves its rings is decided around it.

mod aio;
mod buffers;
mod echo;
mod error;
mod measure;
mod paths;
mod plain;
mod pool;
mod requests;
mod scale;
mod transfers;
mod wake;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ringer_client::calls::{Calls, Embedded, Inline, Libc};
use rustix::process::{Signal, set_parent_process_death_signal};

use self::error::ClientError;
use self::measure::Plan;
use self::transfers::Transfers;
use super::contender::Contender;
use super::data::Files;
use super::workload::{Registered, Work, by_name};

pub use self::echo::{LoadArgs, load};
pub use self::measure::{Latency, Sample};
pub use self::scale::{ScaleSample, sample as scale_sample};

/// Arguments of `ringer bench-client`.
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    /// The workload
    workload: String,
    /// The contender
    contender: String,
    /// The directory with the files
    #[arg(long)]
    directory: PathBuf,
    /// Blocks of the large files
    #[arg(long)]
    blocks: u64,
    /// Milliseconds to measure
    #[arg(long)]
    milliseconds: u64,
    /// Another number for each run
    #[arg(long)]
    seed: u64,
}

/// Measures, and prints the sample as a line of JSON; or says in one line why not.
pub fn client(args: &ClientArgs) -> ExitCode {
    // Whoever started this may be killed: nothing is to be left then.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    match sample(args) {
        Ok(sample) => {
            println!("{}", serde_json::to_string(&sample).expect("numbers"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sample(args: &ClientArgs) -> Result<Sample, ClientError> {
    let unknown = || ClientError::wrong("no such workload or contender");
    let workload = by_name(&args.workload).ok_or_else(unknown)?;
    let contender = Contender::from_name(&args.contender).ok_or_else(unknown)?;
    if workload.work == Work::OtherCall {
        return plain::other_call(args.plan(0), contender == Contender::EmptyFilter);
    }
    match contender {
        Contender::Kernel | Contender::Ringer => by_ring::<Inline>(args, workload.work),
        Contender::RingerLibc => by_ring::<Libc>(args, workload.work),
        Contender::Embedded => by_ring::<Embedded>(args, workload.work),
        _ => by_alternative(args, workload.work, contender),
    }
}

impl ClientArgs {
    fn plan(&self, depth: usize) -> Plan {
        Plan { duration: Duration::from_millis(self.milliseconds), latency: depth == 1 }
    }

    fn files(&self) -> Files {
        Files::in_directory(&self.directory, self.blocks)
    }

    /// The transfers of a workload, and how many at a time.
    fn transfers(&self, work: Work) -> Option<Result<(Transfers, usize), ClientError>> {
        const BATCH: usize = 32;
        let files = self.files();
        let (transfers, depth) = match work {
            Work::Read { depth, .. } => (Transfers::read_cached(&files, depth, self.seed), depth),
            Work::ReadUncached { depth } => (Transfers::read_uncached(&files, depth, self.seed), depth),
            Work::Direct { depth } => (Transfers::read_direct(&files, depth, self.seed), depth),
            Work::Write => (Transfers::write(&files, BATCH, self.seed), BATCH),
            _ => return None,
        };
        Some(transfers.map(|transfers| (transfers, depth)))
    }
}

/// The work by the requests of a ring.
fn by_ring<C: Calls>(args: &ClientArgs, work: Work) -> Result<Sample, ClientError> {
    if let Some(transfers) = args.transfers(work) {
        let (transfers, depth) = transfers?;
        let plan = args.plan(depth);
        return match work {
            Work::Direct { .. } | Work::ReadUncached { .. } => {
                requests::transfer_in_flight::<C>(plan, transfers, depth)
            }
            Work::Read { registered, .. } => requests::transfer::<C>(plan, transfers, depth, registered),
            _ => requests::transfer::<C>(plan, transfers, depth, Registered::Nothing),
        };
    }
    match work {
        Work::Nop { depth } => requests::nop::<C>(args.plan(depth), depth),
        Work::NopPolled => requests::nop_polled::<C>(args.plan(0)),
        Work::Statx => requests::statx::<C>(args.plan(0), &args.files()),
        Work::Open => requests::open::<C>(args.plan(0), &args.files()),
        Work::Echo { connections, multishot } => echo::by_ring::<C>(connections, multishot),
        Work::Wake(kind) => wake::by_ring::<C>(args.plan(1), kind),
        _ => Err(ClientError::wrong("this work is not the client's")),
    }
}

/// The work by something else than a ring.
fn by_alternative(args: &ClientArgs, work: Work, contender: Contender) -> Result<Sample, ClientError> {
    if let Some(transfers) = args.transfers(work) {
        let (transfers, depth) = transfers?;
        let plan = args.plan(depth);
        return match contender {
            Contender::Plain => plain::transfer(plan, transfers, depth),
            Contender::Tokio => pool::transfer(plan, transfers, depth),
            Contender::PosixAio => aio::posix(plan, transfers, depth),
            Contender::LinuxAio => aio::linux(plan, transfers, depth),
            _ => Err(ClientError::wrong("this contender does not do this work")),
        };
    }
    match (work, contender) {
        (Work::Echo { connections, .. }, _) => echo::by_alternative(connections, contender),
        (Work::Wake(kind), _) => wake::by_alternative(args.plan(1), kind, contender),
        (Work::Statx, Contender::Plain) => plain::statx(args.plan(0), &args.files()),
        (Work::Statx, Contender::Tokio) => pool::statx(args.plan(0), &args.files()),
        (Work::Open, Contender::Plain) => plain::open(args.plan(0), &args.files()),
        (Work::Open, Contender::Tokio) => pool::open(args.plan(0), &args.files()),
        _ => Err(ClientError::wrong("this contender does not do this work")),
    }
}
