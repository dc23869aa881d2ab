//! Where the preload library is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

const NAME: &str = "libringer_preload.so";

/// The library: where `RINGER_LIBRARY` says, or near this command.
pub fn find() -> Result<PathBuf, Failure> {
    let path = match std::env::var_os("RINGER_LIBRARY").filter(|path| !path.is_empty()) {
        Some(path) => existing(&[PathBuf::from(path)])?,
        None => {
            let command =
                std::env::current_exe().map_err(Failure::system("cannot find this command's own path"))?;
            let directory = command.parent().unwrap_or(Path::new("/"));
            // The build puts it into `deps`; what lies beside the command may be older.
            existing(
                &["deps", ".", "../deps", "../lib/ringer"].map(|place| directory.join(place).join(NAME)),
            )?
        }
    };
    let path =
        path.canonicalize().map_err(Failure::system("cannot find the path of libringer_preload.so"))?;
    if path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b':' | b' ')) {
        return Err(Failure::UnspeakableLibrary(path));
    }
    Ok(path)
}

fn existing(places: &[PathBuf]) -> Result<PathBuf, Failure> {
    let found = places.iter().find(|place| place.is_file());
    let names = || places.iter().map(|place| place.display().to_string()).collect();
    found.cloned().ok_or_else(|| Failure::NoLibrary(names()))
}

/// The value of `LD_PRELOAD` that adds the library to what is there.
pub fn preload(library: &Path) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(theirs) = std::env::var_os("LD_PRELOAD").filter(|theirs| !theirs.is_empty()) {
        value.push(":");
        value.push(theirs);
    }
    value
}
