use std::any::Any;
use std::collections::BTreeMap;
use std::iter::Enumerate;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Number of batches that wait for a consumer, besides those being prepared and consumed.
const WAITING: usize = 1;

/// What a thread reports.
enum Message<T, E> {
    /// The result of the batch with this number.
    Done(usize, T),
    /// The error of the batch with this number.
    Failed(usize, E),
    Panicked(Box<dyn Any + Send>),
}

/// Ends the threads of a run: they would wait forever for each other once one has panicked.
struct EndOnDrop<'a, B> {
    ended: &'a AtomicBool,
    batches: &'a Mutex<Receiver<(usize, B)>>,
}

impl<B> Drop for EndOnDrop<'_, B> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        while take(self.batches).is_some() {}
    }
}

/// The next batch, or `None` after the last.
fn take<B>(batches: &Mutex<Receiver<(usize, B)>>) -> Option<(usize, B)> {
    let batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
    batches.recv().ok()
}

/// What the threads that prepare batches share: the numbered inputs, and the batches to reuse.
struct Work<I: Iterator, B> {
    inputs: Enumerate<I>,
    spare: Receiver<B>,
}

impl<I: Iterator, B: Default> Work<I, B> {
    /// The next input with its number, and memory for its batch.
    fn next(&mut self) -> Option<(usize, I::Item, B)> {
        let (number, input) = self.inputs.next()?;
        Some((number, input, self.spare.try_recv().unwrap_or_default()))
    }
}

/// Prepares a batch for each of `inputs` while earlier ones are consumed. `ahead` batches are prepared at the same
/// time: threads that find no image left in one of them continue with the next, rather than wait for its slowest
/// image. Each batch goes to one of the `consumers`, which run concurrently; their results go to `collect`, in the
/// order of the inputs. Batches are reused: `prepare` gets a default batch or one that was consumed. At most
/// `ahead` + 1 batches are in memory besides those of the consumers.
///
/// Ends early, after whole batches, once `stop` is set.
///
/// # Errors
/// The error of `prepare` or a consumer; of several, that of the earliest input: batches before it are still consumed,
/// so that the error does not depend on which thread is faster.
///
/// # Panics
/// If `prepare`, a consumer or `collect` panics; the other threads end first.
pub fn process<I: Send, B: Default + Send, T: Send, E: Send>(
    inputs: impl Iterator<Item = I> + Send,
    prepare: impl Fn(I, &mut B) -> Result<(), E> + Sync,
    ahead: NonZeroUsize,
    stop: &AtomicBool,
    consumers: Vec<impl FnMut(&B) -> Result<T, E> + Send>,
    mut collect: impl FnMut(T),
) -> Result<(), E> {
    let (ready, batches) = mpsc::sync_channel(WAITING);
    let (used, spare) = mpsc::channel();
    let (done, results) = mpsc::channel();
    let batches = &Mutex::new(batches);
    let ended = &AtomicBool::new(false);
    // The number of the earliest batch that failed.
    let failed = &AtomicUsize::new(usize::MAX);
    let inputs = inputs.enumerate();
    let work = &Mutex::new(Work { inputs, spare });
    let prepare = &prepare;
    let panic = thread::scope(|scope| {
        let _end = EndOnDrop { ended, batches };
        for _ in 0..ahead.get() {
            let (ready, done) = (ready.clone(), done.clone());
            scope.spawn(move || {
                let runs = || {
                    let ends = stop.load(Ordering::Relaxed) || ended.load(Ordering::Relaxed);
                    !ends && failed.load(Ordering::Relaxed) == usize::MAX
                };
                // After a panic of the iterator, the others end too.
                let next = || work.lock().ok()?.next();
                let prepared = catch_unwind(AssertUnwindSafe(|| {
                    prepare_all(runs, next, prepare, &ready)
                }));
                let message = match prepared {
                    Ok(Ok(())) => return,
                    Ok(Err((number, error))) => {
                        failed.fetch_min(number, Ordering::Relaxed);
                        Message::Failed(number, error)
                    }
                    Err(panic) => Message::Panicked(panic),
                };
                // If the receiver is gone, a panic has ended the run.
                let _ = done.send(message);
            });
        }
        for mut consume in consumers {
            let (used, done) = (used.clone(), done.clone());
            scope.spawn(move || {
                while let Some((number, batch)) = take(batches) {
                    if number > failed.load(Ordering::Relaxed) {
                        continue;
                    }
                    let message = match catch_unwind(AssertUnwindSafe(|| consume(&batch))) {
                        Ok(Ok(result)) => Message::Done(number, result),
                        Ok(Err(error)) => {
                            failed.fetch_min(number, Ordering::Relaxed);
                            Message::Failed(number, error)
                        }
                        Err(panic) => Message::Panicked(panic),
                    };
                    let last = matches!(message, Message::Panicked(_));
                    if done.send(message).is_err() || last {
                        break;
                    }
                    let _ = used.send(batch);
                }
            });
        }
        drop((ready, used, done));
        let mut early = BTreeMap::new();
        let mut next = 0;
        let mut errors = BTreeMap::new();
        for message in results {
            match message {
                Message::Done(number, result) => {
                    early.insert(number, result);
                }
                Message::Failed(number, error) => {
                    errors.insert(number, error);
                }
                Message::Panicked(panic) => return Err(panic),
            }
            while let Some(result) = early.remove(&next) {
                next += 1;
                collect(result);
            }
        }
        Ok(errors.pop_first().map_or(Ok(()), |(_, error)| Err(error)))
    });
    panic.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Prepares the batches of one thread. An error comes with the number of its batch.
fn prepare_all<I, B, E>(
    runs: impl Fn() -> bool,
    next: impl Fn() -> Option<(usize, I, B)>,
    prepare: impl Fn(I, &mut B) -> Result<(), E>,
    ready: &SyncSender<(usize, B)>,
) -> Result<(), (usize, E)> {
    while runs() {
        let Some((number, input, mut batch)) = next() else {
            break;
        };
        prepare(input, &mut batch).map_err(|error| (number, error))?;
        if ready.send((number, batch)).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const AHEAD: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    fn run(
        inputs: usize,
        prepare: impl Fn(usize, &mut usize) -> Result<(), String> + Sync,
        consume: impl Fn(&usize) -> Result<usize, String> + Copy + Send,
        stop: &AtomicBool,
    ) -> (Result<(), String>, Vec<usize>) {
        let mut collected = Vec::new();
        let consumers = vec![consume; 3];
        let result = process(0..inputs, prepare, AHEAD, stop, consumers, |item| {
            collected.push(item);
        });
        (result, collected)
    }

    fn prepare(input: usize, batch: &mut usize) -> Result<(), String> {
        *batch = input;
        Ok(())
    }

    #[test]
    fn results_are_in_the_order_of_the_inputs() {
        let slow_first = |&batch: &usize| {
            thread::sleep(Duration::from_millis((batch % 3) as u64));
            Ok(10 * batch)
        };
        let (result, collected) = run(20, prepare, slow_first, &AtomicBool::new(false));
        assert_eq!(result, Ok(()));
        assert_eq!(collected, (0..20).map(|i| 10 * i).collect::<Vec<_>>());
    }

    #[test]
    fn errors_end_the_run() {
        let stop = AtomicBool::new(false);
        let consume = |&batch: &usize| match batch {
            5 => Err("consumer".to_owned()),
            batch => Ok(batch),
        };
        let (result, collected) = run(1000, prepare, consume, &stop);
        assert_eq!(result, Err("consumer".to_owned()));
        assert!(collected.len() <= 5);
        let fail = |input: usize, batch: &mut usize| match input {
            5 => Err("memory".to_owned()),
            _ => prepare(input, batch),
        };
        let (result, _) = run(1000, fail, |&batch| Ok(batch), &stop);
        assert_eq!(result, Err("memory".to_owned()));
    }

    /// The second batch fails while the first is still being prepared, with one consumer for both.
    #[test]
    fn the_error_is_that_of_the_earliest_batch() {
        let (failed, first) = mpsc::channel();
        let first = Mutex::new(first);
        let prepare = |input: usize, batch: &mut usize| {
            if input == 0 {
                first.lock().unwrap().recv().unwrap();
            }
            prepare(input, batch)
        };
        let consume = |&batch: &usize| {
            let _ = failed.send(());
            Err::<(), _>(batch)
        };
        let stop = AtomicBool::new(false);
        let prepare = |input, batch: &mut usize| prepare(input, batch).map_err(|_| usize::MAX);
        let result = process(0..1000, prepare, AHEAD, &stop, vec![consume], drop);
        assert_eq!(result, Err(0));
    }

    /// With a single consumer, nobody else would take the batches that are ready.
    #[test]
    fn a_panic_ends_the_run() {
        let panics = |run: &dyn Fn()| {
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            *panic.downcast::<&str>().unwrap()
        };
        let stop = AtomicBool::new(false);
        let consumed = |&batch: &usize| match batch {
            5 => panic!("consumer"),
            batch => Ok::<usize, String>(batch),
        };
        let one = |prepare: fn(usize, &mut usize) -> Result<(), String>, collect: fn(usize)| {
            process(
                0..1000,
                prepare,
                AHEAD,
                &stop,
                vec![|&batch: &usize| Ok(batch)],
                collect,
            )
            .unwrap();
        };
        assert_eq!(
            panics(&|| process(0..1000, prepare, AHEAD, &stop, vec![consumed], drop).unwrap()),
            "consumer"
        );
        assert_eq!(
            panics(&|| one(prepare, |result| assert!(result < 5, "collect"))),
            "collect"
        );
        let fails = |input: usize, batch: &mut usize| {
            assert!(input < 5, "prepare");
            prepare(input, batch)
        };
        assert_eq!(panics(&|| one(fails, drop)), "prepare");
    }

    #[test]
    fn stopping_keeps_whole_batches() {
        let stop = AtomicBool::new(false);
        let stop_at_5 = |input: usize, batch: &mut usize| {
            stop.store(input == 5, Ordering::Relaxed);
            prepare(input, batch)
        };
        let (result, collected) = run(1000, stop_at_5, |&batch| Ok(batch), &stop);
        assert_eq!(result, Ok(()));
        // Another batch may have been begun before the stop.
        assert!((6..=7).contains(&collected.len()), "{collected:?}");
        assert_eq!(collected, (0..collected.len()).collect::<Vec<_>>());
    }

    #[test]
    fn a_slow_batch_does_not_keep_the_next_from_being_prepared() {
        let (begun, second) = mpsc::channel();
        let second = Mutex::new(second);
        let wait_for_second = |input: usize, batch: &mut usize| {
            match input {
                0 => second.lock().unwrap().recv().unwrap(),
                1 => begun.send(()).unwrap(),
                _ => {}
            }
            prepare(input, batch)
        };
        let stop = AtomicBool::new(false);
        let (result, collected) = run(5, wait_for_second, |&batch| Ok(batch), &stop);
        assert_eq!(result, Ok(()));
        assert_eq!(collected, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn batches_are_reused() {
        let made = Mutex::new(0);
        let count = |_: usize, batch: &mut Vec<u8>| {
            if batch.is_empty() {
                batch.push(0);
                *made.lock().unwrap() += 1;
            }
            Ok::<(), String>(())
        };
        let stop = AtomicBool::new(false);
        let consumers = vec![|_: &Vec<u8>| Ok(()); 2];
        process(0..1000, count, AHEAD, &stop, consumers, |()| ()).unwrap();
        // Two in preparation, one waiting, two with the consumers.
        let made = *made.lock().unwrap();
        assert!((1..=5).contains(&made), "{made}");
    }
}
