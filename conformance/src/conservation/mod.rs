//! Nothing is lost and nothing comes twice, whatever threads do at the same time.
//!
//! Some threads draw requests and submit them to two rings, which they share with threads that wait, threads that reap, one that closes,
//! replaces and registers files meanwhile, sends signals and forks, and the engine's own threads. What a request does is not looked at; but it has
//! one final completion, and none behind that. A provided buffer is named once each time it is provided, and in the end all that were not named are
//! still there. Each tag of a registered file or buffer is told of once.

mod buffers;
mod files;
mod processes;
mod regular;
mod requests;
mod resources;
mod scene;
mod streams;

use std::sync::atomic::Ordering::Relaxed;
use std::thread::Scope;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringer_abi::SetupFlags;
use ringer_client::calls::Calls;

use processes::Signals;
pub use requests::Kinds;
use scene::{RINGS, Scene, THREADS};

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    /// Flags of the rings.
    pub setup: SetupFlags,
    /// What is drawn.
    pub kinds: Kinds,
    /// How long requests are submitted.
    pub time: Duration,
}

/// The kinds of rings that are played.
pub const SETUPS: [SetupFlags; 5] = [
    SetupFlags::empty(),
    SetupFlags::SQPOLL,
    SetupFlags::COOP_TASKRUN.union(SetupFlags::SQE128).union(SetupFlags::CQE32),
    SetupFlags::SINGLE_ISSUER,
    SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN),
];

/// How long all that was submitted may take to come back.
const LIMIT: Duration = Duration::from_secs(20);

/// Has threads submit for a while, and waits until all is back.
///
/// # Errors
/// What was lost, or came twice.
pub fn play<C: Calls + Send>(play: &Play) -> Result<(), String> {
    let scene = &Scene::<C>::new(play.setup)?;
    let is_owned = play.setup.contains(SetupFlags::SINGLE_ISSUER);
    let signals = Signals::catch()?;
    std::thread::scope(|scope| {
        if is_owned {
            for thread in 0..RINGS {
                scope.spawn(move || have_own(scene, play, thread));
            }
        } else {
            share(scope, scene, play);
        }
        // The others get them.
        signals.block();
        let mut rng = Rng::new();
        let end = Instant::now() + play.time;
        for round in 0.. {
            scene.feed();
            scene.disturb(&mut rng, play.kinds);
            scene.note(processes::disturb(&mut rng));
            if !is_owned {
                let target = rng.usize(..RINGS);
                scene.register(&mut rng, target);
            }
            if round % 8 == 0 && !is_owned {
                (0..RINGS).for_each(|target| scene.cancel_all(target));
            }
            if scene.is_over() || Instant::now() > end {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        scene.is_submitted.store(true, Relaxed);
        if is_owned {
            scene.end_waits(Instant::now());
        } else {
            scene.end(Instant::now() + LIMIT);
            scene.is_through.store(true, Relaxed);
        }
    });
    drop(signals);
    scene.fault().map_or(Ok(()), Err)
}

/// Threads that submit to all rings, and for each ring one that reaps and one that waits.
fn share<'scope, C: Calls + Send>(
    scope: &'scope Scope<'scope, '_>,
    scene: &'scope Scene<C>,
    play: &'scope Play,
) {
    for thread in 0..THREADS {
        scope.spawn(move || {
            let mut rng = Rng::new();
            while !scene.is_over() {
                let target = rng.usize(..RINGS);
                scene.submit(&mut rng, thread, target, play.kinds);
                if rng.u8(..4) == 0 {
                    std::thread::sleep(Duration::from_micros(rng.u64(..200)));
                }
            }
            // Linux cancels what a thread has submitted when it ends, and may lose its completion.
            while !scene.is_through.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(2));
            }
        });
    }
    for target in 0..RINGS {
        scope.spawn(move || {
            while !scene.is_over() {
                scene.reap(target);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        scope.spawn(move || scene.wait(target));
    }
}

/// A thread that does all to a ring of its own.
fn have_own<C: Calls>(scene: &Scene<C>, play: &Play, thread: usize) {
    let mut rng = Rng::new();
    scene.own(thread);
    while !scene.is_over() {
        scene.submit(&mut rng, thread, thread, play.kinds);
        if rng.u8(..16) == 0 {
            scene.cancel_all(thread);
            scene.register(&mut rng, thread);
            if play.setup.contains(SetupFlags::DEFER_TASKRUN) {
                scene.resize(&mut rng, thread);
            }
        }
        scene.reap(thread);
        if play.kinds == Kinds::OfFiles && rng.u8(..4) != 0 {
            scene.wait_for_own(thread);
        } else if rng.u8(..4) == 0 {
            std::thread::sleep(Duration::from_micros(rng.u64(..200)));
        }
    }
    scene.waits_no_more();
    scene.end_own(thread, Instant::now() + LIMIT);
}
