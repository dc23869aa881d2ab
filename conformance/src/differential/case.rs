//! A case: a name, the opcodes it covers, and what it does in a session.

use std::rc::Rc;

use ringer_abi::Opcode;

use super::session::Session;

/// What a case must have observed on every backend: labels and values.
pub type Expectation = &'static [(&'static str, &'static str)];

/// One scene that is played on the kernel and on Ringer.
#[derive(Clone)]
pub struct Case {
    /// Unique; the part before the first `/` names the family.
    pub name: String,
    /// The opcodes whose semantics it looks at.
    pub covers: Vec<Opcode>,
    /// Plays the scene. A panic is a failure of the case.
    pub run: Rc<dyn Fn(&mut Session)>,
    /// What is known without an oracle.
    pub expect: Expectation,
}

impl Case {
    /// A case that covers one opcode.
    pub fn new(name: impl Into<String>, opcode: Opcode, run: impl Fn(&mut Session) + 'static) -> Self {
        Self { name: name.into(), covers: vec![opcode], run: Rc::new(run), expect: &[] }
    }

    /// A case about the calls or the request machinery, not about an opcode.
    pub fn general(name: impl Into<String>, run: impl Fn(&mut Session) + 'static) -> Self {
        Self { name: name.into(), covers: Vec::new(), run: Rc::new(run), expect: &[] }
    }

    /// Adds what must be observed, so that the case says something also where the kernel refuses io_uring.
    #[must_use]
    pub fn expect(mut self, expect: Expectation) -> Self {
        self.expect = expect;
        self
    }
}
