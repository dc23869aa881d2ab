//! What an epoll instance watches.

use std::os::fd::RawFd;

use crate::call::name_of;

/// A descriptor that an epoll instance watches, by its number when it was added, and the events that are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// The number. By now it may be another file's.
    pub fd: RawFd,
    /// Bits of `epoll_ctl.2`.
    pub events: u32,
}

/// Asks `/proc`, by `proc_pid_fdinfo.5`. `None`: it is no epoll instance, or `/proc` is not there.
pub fn epoll_members(fd: RawFd) -> Option<Vec<Member>> {
    if !name_of(fd)?.starts_with(b"anon_inode:[eventpoll]") {
        return None;
    }
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    Some(text.lines().filter_map(member).collect())
}

/// A line like `tfd: 5 events: 1f data: 5 pos:0 ino:12 sdev:10`.
fn member(line: &str) -> Option<Member> {
    let mut words = line.strip_prefix("tfd:")?.split_ascii_whitespace();
    let fd = words.next()?.parse().ok()?;
    let events = words.nth(1)?;
    Some(Member { fd, events: u32::from_str_radix(events, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::event::epoll;

    use super::*;

    #[test]
    fn members_are_told_with_their_events_and_other_files_have_none() {
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an instance");
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        for (fd, events) in [(&read, epoll::EventFlags::IN), (&write, epoll::EventFlags::OUT)] {
            epoll::add(&instance, fd, epoll::EventData::new_u64(0), events).expect("it can be watched");
        }
        // The kernel adds errors and hang-ups, which nobody has to ask for.
        let found: Vec<_> = epoll_members(instance.as_raw_fd())
            .expect("an instance")
            .iter()
            .map(|member| (member.fd, member.events & 5))
            .collect();
        assert_eq!(found.len(), 2);
        assert!(
            found.contains(&(read.as_raw_fd(), 1)) && found.contains(&(write.as_raw_fd(), 4)),
            "{found:?}"
        );
        assert_eq!(epoll_members(read.as_raw_fd()), None);
        assert_eq!(epoll_members(-1), None);
    }
}
