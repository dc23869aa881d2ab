//! What of all that can be drawn is drawn.

use ringer_abi::{Opcode, SetupFlags};

/// What is drawn. Empty: anything.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Wish {
    /// Only these operations, by name or number.
    #[arg(long, value_parser = opcode)]
    pub only: Vec<Opcode>,
    /// Only rings with these setup flags, by name, with `|` between them.
    #[arg(long, value_parser = setup)]
    pub setup: Option<SetupFlags>,
    /// Always a second ring, with these setup flags.
    #[arg(long, value_parser = setup)]
    pub second: Option<SetupFlags>,
    /// Only rings whose CQ has room for so many completions of a submission.
    #[arg(long)]
    pub room: Option<u32>,
}

impl Wish {
    /// The arguments that say the same.
    pub fn arguments(&self) -> Vec<String> {
        let only = self.only.iter().map(|opcode| format!("--only={}", opcode.number()));
        let setup = self.setup.map(|flags| format!("--setup={:#x}", flags.bits()));
        let second = self.second.map(|flags| format!("--second={:#x}", flags.bits()));
        let room = self.room.map(|room| format!("--room={room}"));
        only.chain(setup).chain(second).chain(room).collect()
    }
}

fn opcode(text: &str) -> Result<Opcode, String> {
    let named = |opcode: &&Opcode| {
        format!("{opcode:?}").eq_ignore_ascii_case(&text.replace('_', ""))
            || opcode.number().to_string() == text
    };
    Opcode::ALL.iter().find(named).copied().ok_or_else(|| format!("{text}: not an operation"))
}

fn setup(text: &str) -> Result<SetupFlags, String> {
    bitflags::parser::from_str(text).map_err(|error| format!("{text}: no setup flags: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        wish: Wish,
    }

    #[test]
    fn a_wish_is_passed_on_as_it_came() {
        let arguments =
            ["program", "--only=read_fixed", "--setup=SQPOLL | SUBMIT_ALL", "--second=0x0", "--room=2"];
        let wish = Program::parse_from(arguments).wish;
        assert_eq!(wish.only, [Opcode::ReadFixed]);
        assert_eq!(wish.setup, Some(SetupFlags::SQPOLL | SetupFlags::SUBMIT_ALL));
        let passed_on = Program::parse_from(["program".to_owned()].into_iter().chain(wish.arguments())).wish;
        assert_eq!(wish.room, Some(2));
        assert_eq!(wish.second, Some(SetupFlags::empty()));
        assert_eq!((passed_on.only, passed_on.setup), (wish.only, wish.setup));
        assert_eq!((passed_on.second, passed_on.room), (wish.second, wish.room));
        assert!(Program::try_parse_from(["program", "--setup", "SOMETHING"]).is_err());
    }
}
