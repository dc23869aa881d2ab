//! The descendants of this process, from `/proc`.

use std::fmt::Write;
use std::fs;
use std::io;

use rustix::process::{Pid, getpid};

/// One process, as `/proc/PID/stat` shows it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Its command name, at most 15 bytes.
    pub name: String,
    parent: i32,
    state: char,
}

impl Process {
    /// Whether it has ended and waits for being reaped.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Parses a line of `/proc/PID/stat`. The name is in parentheses and may hold any character.
    fn from_stat(line: &str) -> Option<Self> {
        let (pid, rest) = line.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some(Self {
            pid: Pid::from_raw(pid.parse().ok()?)?,
            name: name.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
        })
    }
}

/// The children of this process.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn children() -> io::Result<Vec<Process>> {
    let own = getpid().as_raw_nonzero().get();
    Ok(all()?.into_iter().filter(|process| process.parent == own).collect())
}

/// All descendants of this process, parents before their children.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn descendants() -> io::Result<Vec<Process>> {
    let all = all()?;
    let mut parents = vec![getpid().as_raw_nonzero().get()];
    let mut found = Vec::new();
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid.as_raw_nonzero().get());
            found.push(process.clone());
        }
    }
    Ok(found)
}

fn all() -> io::Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| name.parse::<i32>().is_err()) {
            continue;
        }
        // A process may go while we look.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        all.extend(Process::from_stat(&String::from_utf8_lossy(&stat)));
    }
    Ok(all)
}

/// What each thread of these processes is doing: name, state, and where it waits in the kernel.
pub fn describe(processes: &[Process]) -> String {
    let mut text = String::new();
    for process in processes {
        let pid = process.pid.as_raw_nonzero();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}[{pid}] state {}", process.name, process.state);
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let read = |file: &str| {
                let bytes = fs::read(thread.path().join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).trim_end().to_owned()
            };
            let _ = writeln!(
                text,
                "  thread {} {} syscall {} in {}",
                thread.file_name().to_string_lossy(),
                read("comm"),
                read("syscall"),
                read("wchan")
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_parsed() {
        let process = Process::from_stat("12 (a) b (c) S 7 12 12 0").expect("a line of stat");
        assert_eq!((process.name.as_str(), process.parent, process.state), ("a) b (c", 7, 'S'));
        assert!(Process::from_stat("12 (a").is_none());
    }
}
