//! A process of the simulation: one future that is polled when the scheduler says so, and never otherwise.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};

/// Polls one future until it waits for something that only the scheduler can give it.
pub(crate) struct Process<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<T> Process<T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::default() }
    }

    /// Runs it as far as it comes; gives what it ended with, if it did.
    pub(crate) fn run(&mut self) -> Option<T> {
        let waker = Waker::from(Arc::clone(&self.woken));
        loop {
            self.woken.0.store(false, Ordering::SeqCst);
            if let Poll::Ready(output) = self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(output);
            }
            fence();
            if !self.woken.0.load(Ordering::SeqCst) {
                return None;
            }
        }
    }
}

/// Waits until all blocking work is done that was given to the runtime: it has one thread for it, and that takes
/// one task after the other. So nothing runs beside the scheduler when it goes on.
fn fence() {
    let (done, wait) = mpsc::channel();
    let _joined = tokio::task::spawn_blocking(move || done.send(()));
    let _ = wait.recv();
}

/// A runtime whose blocking work is done in order, one task at a time.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime")
}
