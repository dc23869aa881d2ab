//! Fetches liburing 2.3 from Debian's source package and builds it by its own build, once.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{FlockOperation, flock};

use super::Failure;

/// The upstream version that the table is about. Newer tests are not looked at.
const VERSION: &str = "2.3";

/// The built suite: its tests lie in `test/` under it, with names that end in `.t`.
#[derive(Clone, Debug)]
pub struct Source {
    /// The source tree.
    pub root: PathBuf,
}

impl Source {
    /// The built tree under `cache`, fetched and built now if it is not there yet.
    ///
    /// # Errors
    /// When a step of fetching or building fails; says which and what the program printed.
    pub fn ensure(cache: &Path) -> Result<Self, Failure> {
        let root = cache.join("source");
        let done = root.join("built-by-ringer-conformance");
        if done.exists() {
            return Ok(Self { root });
        }
        let work = cache.join("fetch");
        fs::create_dir_all(&work).map_err(Failure::at(&work))?;
        let _lock = lock(&cache.join("lock")).map_err(Failure::at(cache))?;
        // Another run may have built it while this one waited for the lock.
        if !done.exists() {
            remove_tree(&work).map_err(Failure::at(&work))?;
            remove_tree(&root).map_err(Failure::at(&root))?;
            fs::create_dir_all(&work).map_err(Failure::at(&work))?;
            eprintln!("fetching and building liburing {VERSION} into {} (once)", cache.display());
            fetch(&work)?;
            build(&work.join("liburing"))?;
            fs::rename(work.join("liburing"), &root).map_err(Failure::at(&root))?;
            File::create(&done).map_err(Failure::at(&done))?;
            remove_tree(&work).map_err(Failure::at(&work))?;
        }
        Ok(Self { root })
    }

    /// The names of all tests, sorted, without `.t`.
    ///
    /// # Errors
    /// When the directory cannot be read or holds no tests.
    pub fn tests(&self) -> Result<Vec<String>, Failure> {
        let directory = self.root.join("test");
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Failure::at(&directory))? {
            let name = entry.map_err(Failure::at(&directory))?.file_name();
            names.extend(name.to_str().and_then(|name| name.strip_suffix(".t")).map(str::to_owned));
        }
        names.sort();
        if names.is_empty() {
            return Err(Failure::new(format!(
                "{} holds no tests; remove the tree to build it anew",
                directory.display()
            )));
        }
        Ok(names)
    }

    /// The program of a test.
    pub fn program(&self, test: &str) -> PathBuf {
        self.root.join("test").join(format!("{test}.t"))
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Fetches and unpacks the source package to `work/liburing`.
///
/// The machine's own apt sources are copied with source packages turned on. Nothing outside `work`
/// is changed, so that this works for ordinary users too.
fn fetch(work: &Path) -> Result<(), Failure> {
    let sources = work.join("sources");
    for directory in [&sources, &work.join("lists/partial"), &work.join("cache/archives/partial")] {
        fs::create_dir_all(directory).map_err(Failure::at(directory))?;
    }
    copy_sources(Path::new("/etc/apt"), &sources).map_err(Failure::at(Path::new("/etc/apt")))?;
    let apt = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(work).env("LC_ALL", "C");
        for (option, value) in [
            ("Dir::Etc::sourcelist", Path::new("/dev/null")),
            ("Dir::Etc::sourceparts", sources.as_path()),
            ("Dir::State::lists", work.join("lists").as_path()),
            ("Dir::Cache", work.join("cache").as_path()),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        // The download user of a root apt cannot write to a private directory.
        command.args(["-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3"]);
        command
    };
    output(apt("apt-get").args(["-q", "update"]))?;
    let records = output(apt("apt-cache").args(["showsrc", "liburing"]))?;
    let version = wanted_version(&String::from_utf8_lossy(&records.stdout)).ok_or_else(|| {
        Failure::new(format!("Debian's sources of this machine have no liburing {VERSION} (Debian 12 has)"))
    })?;
    output(apt("apt-get").args(["-q", "source", "--download-only", &format!("liburing={version}")]))?;
    let description = format!("liburing_{version}.dsc");
    output(Command::new("dpkg-source").current_dir(work).args(["--extract", &description, "liburing"]))?;
    Ok(())
}

/// The newest packaging of [`VERSION`] in what `apt-cache showsrc` prints.
fn wanted_version(records: &str) -> Option<String> {
    let prefix = format!("{VERSION}-");
    let versions = records.lines().filter_map(|line| line.strip_prefix("Version: "));
    versions.map(str::trim).filter(|version| version.starts_with(&prefix)).max().map(str::to_owned)
}

/// Copies the lists of package sources under `from`, with source packages in place of binary ones.
fn copy_sources(from: &Path, to: &Path) -> io::Result<()> {
    let mut files = vec![from.join("sources.list")];
    if let Ok(entries) = fs::read_dir(from.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    for file in files {
        let convert = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => source_lines,
            Some("sources") => source_stanzas,
            _ => continue,
        };
        let (Ok(text), Some(name)) = (fs::read_to_string(&file), file.file_name()) else { continue };
        fs::write(to.join(name), convert(&text))?;
    }
    Ok(())
}

/// The one-line style: `deb …` becomes `deb-src …`; everything else goes.
fn source_lines(text: &str) -> String {
    let binary = text.lines().filter_map(|line| line.trim_start().strip_prefix("deb"));
    let rest = binary.filter(|rest| rest.starts_with([' ', '\t']));
    rest.map(|rest| format!("deb-src{rest}\n")).collect()
}

/// The deb822 style: the field `Types` becomes `deb-src`.
fn source_stanzas(text: &str) -> String {
    let is_types = |line: &str| line.get(..6).is_some_and(|field| field.eq_ignore_ascii_case("types:"));
    text.lines()
        .map(|line| if is_types(line) { "Types: deb-src\n".into() } else { format!("{line}\n") })
        .collect()
}

/// `./configure && make`, as its README says.
fn build(tree: &Path) -> Result<(), Failure> {
    output(Command::new("./configure").current_dir(tree))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    output(Command::new("make").current_dir(tree).arg(format!("-j{jobs}")))?;
    Ok(())
}

/// Runs a command that must succeed.
fn output(command: &mut Command) -> Result<Output, Failure> {
    let last = command.get_args().last().map(|argument| argument.to_string_lossy().into_owned());
    let shown = format!("{} … {}", command.get_program().to_string_lossy(), last.unwrap_or_default());
    let output = command.output().map_err(|error| Failure::new(format!("{shown}: {error}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n");
    Err(Failure::new(format!("{shown}: {}\n{tail}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_packages_are_turned_on_in_both_styles() {
        assert_eq!(
            source_lines(
                "# deb old\ndeb [signed-by=/k] http://mirror stable main\ndeb-src http://mirror stable main\n"
            ),
            "deb-src [signed-by=/k] http://mirror stable main\n"
        );
        assert_eq!(
            source_stanzas("Types: deb\nURIs: http://mirror\n\nTypes: deb deb-src\n"),
            "Types: deb-src\nURIs: http://mirror\n\nTypes: deb-src\n"
        );
    }

    #[test]
    fn only_the_version_of_the_table_is_taken() {
        let records = "Package: liburing\nVersion: 2.9-1\n\nVersion: 2.3-3\n\nVersion: 2.3-4\n";
        assert_eq!(wanted_version(records).as_deref(), Some("2.3-4"));
        assert_eq!(wanted_version("Version: 2.30-1\n"), None);
    }
}
