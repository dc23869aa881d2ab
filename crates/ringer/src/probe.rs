//! `ringer probe`: is io_uring usable here, why not, and who would serve it.

use std::io::Write;
use std::process::ExitCode;

use ringer_sys::{probe, seccomp};
use rustix::io::Errno;
use serde::Serialize;

use crate::cli::ProbeArgs;
use crate::library;

pub use ringer_sys::probe::kernel_io_uring;

#[derive(Debug, Serialize)]
struct Report {
    kernel: String,
    architecture: &'static str,
    kernel_io_uring: Kernel,
    ringer: Ringer,
    /// Who serves a program under `ringer run --when auto`.
    auto: Auto,
}

#[derive(Debug, Serialize)]
struct Kernel {
    usable: bool,
    /// `ok`, or the errno of `io_uring_setup`.
    setup: String,
    /// The sysctl `kernel.io_uring_disabled`, where there is one.
    io_uring_disabled: Option<u32>,
    /// This process's seccomp mode: `none`, `strict`, `filter`.
    seccomp: &'static str,
    /// Why it is not usable, as far as that can be told.
    reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Ringer {
    usable: bool,
    /// Where the preload library is.
    library: Option<String>,
    facilities: Vec<Facility>,
}

#[derive(Debug, Serialize)]
struct Facility {
    name: &'static str,
    /// Without it, `ringer run` does not work; without one of the others some requests take a slower way.
    required: bool,
    /// `ok`, or the errno.
    result: String,
    #[serde(skip)]
    works: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Auto {
    Kernel,
    Ringer,
    Nobody,
}

/// Prints the report. The exit status is zero if anybody serves.
pub fn run(args: &ProbeArgs) -> ExitCode {
    let report = Report::make();
    let text = if args.json {
        serde_json::to_string_pretty(&report).expect("a plain structure") + "\n"
    } else {
        report.lines().join("\n") + "\n"
    };
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        eprintln!("ringer: cannot print: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::from(report.auto == Auto::Nobody))
}

impl Report {
    fn make() -> Self {
        let kernel_io_uring = Kernel::look();
        let ringer = Ringer::look();
        let auto = match (kernel_io_uring.usable, ringer.usable) {
            (true, _) => Auto::Kernel,
            (false, true) => Auto::Ringer,
            (false, false) => Auto::Nobody,
        };
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = release.trim().to_owned();
        Self { kernel, architecture: std::env::consts::ARCH, kernel_io_uring, ringer, auto }
    }

    fn lines(&self) -> Vec<String> {
        let yes = |usable: bool| if usable { "usable" } else { "not usable" };
        let Kernel { usable, setup, io_uring_disabled, seccomp, reason } = &self.kernel_io_uring;
        let mut lines = vec![
            format!("system              Linux {}, {}", self.kernel, self.architecture),
            format!("kernel's io_uring   {}", yes(*usable)),
            format!("  io_uring_setup    {setup}"),
            match io_uring_disabled {
                Some(value) => format!("  io_uring_disabled {value}"),
                None => "  io_uring_disabled no such sysctl".into(),
            },
            format!("  seccomp           {seccomp}"),
        ];
        lines.extend(reason.map(|reason| format!("  reason            {reason}")));
        lines.push(format!("ringer              {}", yes(self.ringer.usable)));
        let library = self.ringer.library.as_deref().unwrap_or("not found; set RINGER_LIBRARY to its path");
        lines.push(format!("  library           {library}"));
        for Facility { name, required, result, works } in &self.ringer.facilities {
            let loss = match (works, required) {
                (true, _) => "",
                (false, true) => ", needed",
                (false, false) => ", a slower way is taken",
            };
            lines.push(format!("  {name:<17} {result}{loss}"));
        }
        lines.push(format!(
            "--when auto         {}",
            match self.auto {
                Auto::Kernel => "the kernel serves, the program is just executed",
                Auto::Ringer => "ringer serves",
                Auto::Nobody => "nobody can serve io_uring here",
            }
        ));
        lines
    }
}

impl Kernel {
    fn look() -> Self {
        let result = kernel_io_uring();
        let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let io_uring_disabled = sysctl.ok().and_then(|text| text.trim().parse().ok());
        let seccomp = seccomp_mode();
        let reason = match result {
            Ok(()) => None,
            Err(Errno::NOSYS) if seccomp == "filter" => {
                Some("the kernel has no io_uring, or a seccomp filter of the container hides it")
            }
            Err(Errno::NOSYS) => Some("the kernel has no io_uring"),
            Err(Errno::PERM) if io_uring_disabled == Some(2) => {
                Some("the sysctl kernel.io_uring_disabled forbids it to everybody")
            }
            Err(Errno::PERM) if io_uring_disabled == Some(1) => {
                Some("the sysctl kernel.io_uring_disabled forbids it to those outside of its group")
            }
            Err(Errno::PERM | Errno::ACCESS) if seccomp == "filter" => {
                Some("a seccomp filter forbids it, as containers do by default")
            }
            Err(Errno::PERM | Errno::ACCESS) => Some("a security module forbids it"),
            Err(Errno::NOMEM) => Some("the limit on locked memory is too low (ulimit -l)"),
            Err(_) => Some("unknown"),
        };
        Self { usable: result.is_ok(), setup: word(result), io_uring_disabled, seccomp, reason }
    }
}

impl Ringer {
    fn look() -> Self {
        let trap = match seccomp::trap_available() {
            Err(Errno::INVAL) => Ok(()),
            other => other,
        };
        let facility = |name, required, result: Result<(), Errno>| Facility {
            name,
            required,
            works: result.is_ok(),
            result: word(result),
        };
        let facilities = vec![
            facility("seccomp trap", true, trap),
            facility("memfd", true, probe::memfd()),
            facility("eventfd", true, probe::event_descriptor()),
            facility("RWF_NOWAIT", false, probe::read_without_waiting()),
            facility("openat2", false, probe::open_with_resolution()),
            facility("epoll_pwait2", false, probe::epoll_pwait2()),
            facility("process_vm_readv", false, probe::process_vm_readv()),
            facility("Linux AIO", false, probe::linux_aio()),
        ];
        let library = library::find().ok().map(|path| path.display().to_string());
        let usable = cfg!(target_arch = "x86_64")
            && library.is_some()
            && facilities.iter().all(|facility| facility.works || !facility.required);
        Self { usable, library, facilities }
    }
}

/// This process's seccomp mode. `proc_pid_status.5`.
fn seccomp_mode() -> &'static str {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    match mode.map(str::trim) {
        Some("0") => "none",
        Some("1") => "strict",
        Some("2") => "filter",
        _ => "unknown",
    }
}

/// `ok`, or the errno by its name.
fn word(result: Result<(), Errno>) -> String {
    let Err(error) = result else { return "ok".into() };
    let name = match error {
        Errno::PERM => "EPERM",
        Errno::ACCESS => "EACCES",
        Errno::NOSYS => "ENOSYS",
        Errno::INVAL => "EINVAL",
        Errno::NOMEM => "ENOMEM",
        Errno::AGAIN => "EAGAIN",
        Errno::MFILE => "EMFILE",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        _ => return error.to_string(),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_consistent() {
        let report = Report::make();
        assert_eq!(report.kernel_io_uring.usable, report.kernel_io_uring.setup == "ok");
        assert_eq!(report.kernel_io_uring.usable, report.kernel_io_uring.reason.is_none());
        assert_eq!(report.auto == Auto::Kernel, report.kernel_io_uring.usable);
        assert!(report.lines().iter().all(|line| line.len() > 20 || line.contains("ok")));
    }
}
