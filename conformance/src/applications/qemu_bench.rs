//! `qemu-img bench -i io_uring`: many requests in flight on an image; what was written is read back.

use super::Check;
use super::session::{Failure, Program, Session};
use super::summary::{READS, SYNCS, WRITES};

const COUNT: usize = 4096;
const BLOCK: usize = 4096;
/// The program goes through the image once.
const SIZE: usize = COUNT * BLOCK;
const OLD: u8 = 0xa5;
const NEW: u8 = 0x5a;
const FLUSH_INTERVAL: usize = 128;

/// One image format and cache mode.
#[derive(Clone, Copy)]
struct Image {
    format: &'static str,
    cache: &'static str,
}

impl Image {
    fn file(self) -> String {
        format!("image.{}", self.format)
    }

    /// An image full of [`OLD`].
    fn make(self, session: &Session) -> Result<(), Failure> {
        std::fs::write(session.path("old.img"), vec![OLD; SIZE])?;
        session
            .helper("qemu-img")?
            .args(["convert", "-f", "raw", "-O", self.format, "old.img", &self.file()])
            .succeed()?;
        Ok(())
    }

    fn bench(self, session: &Session) -> Result<Program<'_>, Failure> {
        Ok(session
            .program("qemu-img")?
            .args(["bench", "-i", "io_uring", "-d", "32", "-f", self.format, "-t", self.cache])
            .args([format!("--count={COUNT}"), format!("--buffer-size={BLOCK}")]))
    }

    /// The image is well-formed and holds nothing but `pattern`.
    fn holds(self, session: &Session, pattern: u8) -> Result<(), Failure> {
        if self.format != "raw" {
            session.helper("qemu-img")?.args(["check", "-f", self.format, &self.file()]).succeed()?;
        }
        session
            .helper("qemu-img")?
            .args(["convert", "-f", self.format, "-O", "raw", &self.file(), "content.img"])
            .succeed()?;
        let content = std::fs::read(session.path("content.img"))?;
        if content.len() != SIZE {
            return Err(Failure::because(format!("{} bytes in the image, not {SIZE}", content.len())));
        }
        match content.iter().position(|byte| *byte != pattern) {
            None => Ok(()),
            Some(at) => Err(Failure::because(format!(
                "byte {at} of the image is {:#x}, not {pattern:#x}",
                content[at]
            ))),
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for format in ["raw", "qcow2"] {
        for cache in ["writeback", "none"] {
            let image = Image { format, cache };
            let mut add = |what: &str, run: fn(&Session, Image) -> Result<(), Failure>| {
                let name = format!("qemu-img/bench-{what}-{format}-{cache}");
                checks.push(Check::new(name, move |session| run(session, image)));
            };
            add("read", read);
            add("write", write);
            add("flush", write_and_flush);
        }
    }
    checks
}

fn read(session: &Session, image: Image) -> Result<(), Failure> {
    image.make(session)?;
    image.bench(session)?.arg(image.file()).succeed()?.served(COUNT as u64, READS)?;
    image.holds(session, OLD)
}

fn write(session: &Session, image: Image) -> Result<(), Failure> {
    image.make(session)?;
    let ran = image.bench(session)?.arg("-w").arg(format!("--pattern={NEW}")).arg(image.file()).succeed()?;
    ran.served(COUNT as u64, WRITES)?;
    image.holds(session, NEW)
}

fn write_and_flush(session: &Session, image: Image) -> Result<(), Failure> {
    image.make(session)?;
    let ran = image
        .bench(session)?
        .arg("-w")
        .arg(format!("--pattern={NEW}"))
        .arg(format!("--flush-interval={FLUSH_INTERVAL}"))
        .arg(image.file())
        .succeed()?;
    ran.served(COUNT as u64, WRITES)?;
    ran.served((COUNT / FLUSH_INTERVAL) as u64, SYNCS)?;
    image.holds(session, NEW)
}
