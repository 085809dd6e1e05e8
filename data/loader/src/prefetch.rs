use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// Items that another thread makes ahead of time, in order. See [`prefetch`].
#[derive(Debug)]
pub struct Prefetch<T> {
    receiver: Receiver<T>,
    thread: Option<JoinHandle<()>>,
}

/// Runs an iterator in a thread of its own, at most `ahead` items ahead of the caller. The thread ends
/// with the item after the [`Prefetch`] was dropped.
pub fn prefetch<T: Send + 'static>(
    ahead: usize,
    items: impl Iterator<Item = T> + Send + 'static,
) -> Prefetch<T> {
    let (sender, receiver) = sync_channel(ahead);
    let thread = thread::spawn(move || {
        for item in items {
            if sender.send(item).is_err() {
                return;
            }
        }
    });
    Prefetch {
        receiver,
        thread: Some(thread),
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if let Ok(item) = self.receiver.recv() {
            return Some(item);
        }
        // The sender is gone: the items are finished, or a panic ended them, which must not pass as
        // their end.
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn items_come_in_order() {
        let items: Vec<usize> = prefetch(2, 0..100).collect();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_is_not_the_end() {
        let mut items = prefetch(1, (0..3).map(|i| 2 / (2 - i)));
        assert_eq!((items.next(), items.next()), (Some(1), Some(2)));
        let next = catch_unwind(AssertUnwindSafe(|| items.next()));
        next.unwrap_err();
    }
}
