//! See `ringer_conformance::conservation`.

use std::time::Duration;

use ringer_client::calls::Embedded;
use ringer_conformance::conservation::{Kinds, Play, SETUPS, play};

#[test]
fn each_request_has_one_last_completion_and_no_buffer_is_lost() {
    for setup in SETUPS {
        for kinds in Kinds::ALL {
            let one = Play { setup, kinds, time: Duration::from_millis(1500) };
            play::<Embedded>(&one).unwrap_or_else(|why| panic!("{setup:?}, {kinds:?}: {why}"));
        }
    }
}
