//! The program to run: where it is, and whether a preloaded library can reach it.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache};
use rustix::fs::{Access, AtFlags};

use crate::failure::Failure;

/// The file that `execvp.3` would execute for this name.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![PathBuf::from(name)]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
        std::env::split_paths(&path).map(|directory| directory.join(name)).collect()
    };
    let mut refused = None;
    for candidate in candidates {
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => refused = refused.or(Some((candidate, error))),
        }
    }
    match refused {
        Some((path, error)) if !name.is_empty() => {
            Err(Failure::NotExecutable { path, reason: error.to_string() })
        }
        _ => Err(Failure::Missing(name.to_owned())),
    }
}

fn executable(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}

/// What a failed `exec` means.
pub fn not_executed(path: &Path, error: io::Error) -> Failure {
    match error.kind() {
        // The file was there a moment ago.
        io::ErrorKind::NotFound => Failure::NotExecutable {
            path: path.to_owned(),
            reason: "its interpreter or dynamic linker is missing".into(),
        },
        _ => Failure::NotExecutable { path: path.to_owned(), reason: error.to_string() },
    }
}

/// Fails unless the dynamic linker will load a preloaded library into the program.
pub fn check(path: &Path) -> Result<(), Failure> {
    /// As many as the kernel follows.
    const INTERPRETERS: usize = 5;
    let mut path = path.to_owned();
    for _ in 0..INTERPRETERS {
        // A program that may be executed but not read cannot be looked into.
        let Ok(file) = File::open(&path) else { return Ok(()) };
        let metadata = file.metadata().map_err(Failure::system("cannot look at the program"))?;
        let no = |reason: &str| Err(Failure::NotServable { path: path.clone(), reason: reason.into() });
        match look(&file) {
            Kind::Script(interpreter) => {
                path = interpreter;
                continue;
            }
            Kind::ForeignArchitecture => {
                return no("it is built for another architecture; ringer serves x86_64 programs");
            }
            Kind::Static => {
                return no(
                    "it is statically linked, so that no library can be preloaded; use a dynamically linked build",
                );
            }
            Kind::Dynamic(linker) if foreign(&linker) => {
                return no("it uses another C library than ringer was built for; build ringer for that one");
            }
            Kind::Dynamic(_) | Kind::Other => {}
        }
        return match gains_privileges(&path, &metadata) {
            Some(reason) => {
                no(&format!("{reason}, so that the system ignores LD_PRELOAD; run a plain copy of it"))
            }
            None => Ok(()),
        };
    }
    Ok(())
}

/// What kind of program a file is.
#[derive(PartialEq, Eq, Debug)]
enum Kind {
    /// `#!` and this interpreter.
    Script(PathBuf),
    /// Loaded by this dynamic linker.
    Dynamic(PathBuf),
    Static,
    ForeignArchitecture,
    /// Something that the kernel, or a shell, knows.
    Other,
}

fn look(file: &File) -> Kind {
    let cache = ReadCache::new(file);
    match object::FileKind::parse(&cache) {
        Ok(object::FileKind::Elf64) => look_at_elf(&cache).unwrap_or(Kind::Other),
        Ok(object::FileKind::Elf32) => Kind::ForeignArchitecture,
        _ => interpreter(file).map_or(Kind::Other, Kind::Script),
    }
}

fn look_at_elf(data: &ReadCache<&File>) -> object::read::Result<Kind> {
    let header = elf::FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return Ok(Kind::ForeignArchitecture);
    }
    for segment in header.program_headers(endian, data)? {
        if let Some(linker) = segment.interpreter(endian, data)? {
            return Ok(Kind::Dynamic(PathBuf::from(OsStr::from_bytes(linker))));
        }
    }
    Ok(Kind::Static)
}

/// The interpreter in the first line of a script. `execve.2`.
fn interpreter(file: &File) -> Option<PathBuf> {
    const LONGEST: u64 = 256;
    let mut line = Vec::new();
    let mut reader = BufReader::new(file);
    io::Seek::seek(&mut reader, io::SeekFrom::Start(0)).ok()?;
    reader.take(LONGEST).read_until(b'\n', &mut line).ok()?;
    let rest = line.strip_prefix(b"#!")?.trim_ascii();
    let name = rest.split(u8::is_ascii_whitespace).next()?;
    (!name.is_empty()).then(|| PathBuf::from(OsString::from_vec(name.to_vec())))
}

/// Whether this dynamic linker belongs to another C library than ours.
fn foreign(linker: &Path) -> bool {
    let ours = File::open("/proc/self/exe").map(|file| look(&file));
    match ours {
        Ok(Kind::Dynamic(ours)) => ours.file_name() != linker.file_name(),
        _ => false,
    }
}

/// Why executing the file would change this process's privileges.
fn gains_privileges(path: &Path, metadata: &Metadata) -> Option<&'static str> {
    const SET_UID: u32 = 0o4000;
    const SET_GID: u32 = 0o2010;
    if rustix::thread::no_new_privs().unwrap_or(false) {
        return None;
    }
    let user = rustix::process::geteuid();
    if metadata.mode() & SET_UID != 0 && metadata.uid() != user.as_raw() {
        return Some("it is set-uid");
    }
    if metadata.mode() & SET_GID == SET_GID && metadata.gid() != rustix::process::getegid().as_raw() {
        return Some("it is set-gid");
    }
    let has_capabilities = rustix::fs::getxattr(path, "security.capability", &mut [0_u8; 64]).is_ok();
    (has_capabilities && !user.is_root()).then_some("it has file capabilities")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("room for a few bytes");
        file
    }

    #[test]
    fn scripts_name_their_interpreter() {
        let of = |line: &[u8]| look(&file(line));
        assert_eq!(of(b"#!/bin/sh -e\necho\n"), Kind::Script("/bin/sh".into()));
        assert_eq!(of(b"#! /usr/bin/env python3"), Kind::Script("/usr/bin/env".into()));
        assert_eq!(of(b"#!\n"), Kind::Other);
        assert_eq!(of(b"echo"), Kind::Other);
        assert_eq!(of(b""), Kind::Other);
    }

    #[test]
    fn this_test_is_dynamic_and_a_cut_off_program_is_not_judged() {
        let own = File::open("/proc/self/exe").expect("proc is mounted");
        let Kind::Dynamic(linker) = look(&own) else { panic!("{:?}", look(&own)) };
        assert!(linker.is_absolute() && !foreign(&linker));
        let mut start = [0; 100];
        (&own).read_exact(&mut start).expect("an ELF file is longer");
        assert_eq!(look(&file(&start)), Kind::Other);
    }

    #[test]
    fn names_are_searched_in_path_and_paths_are_not() {
        assert!(find(OsStr::new("sh")).is_ok_and(|path| path.is_absolute()));
        assert!(matches!(find(OsStr::new("no-such-program-here")), Err(Failure::Missing(_))));
        assert!(matches!(find(OsStr::new("/etc/passwd")), Err(Failure::NotExecutable { .. })));
        assert!(matches!(find(OsStr::new("/etc")), Err(Failure::NotExecutable { .. })));
        assert!(matches!(find(OsStr::new("")), Err(Failure::Missing(_))));
    }
}
