//! Several threads that read pieces side by side, for one that takes what they find in the pieces' order.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::pieces::Piece;

/// Findings of one piece that wait to be taken.
const WAITING: usize = 4;

/// Where a thread hands over what it finds; says when nobody wants more.
pub(crate) struct Hand<'a, T> {
    sender: SyncSender<io::Result<T>>,
    enough: &'a AtomicBool,
}

impl<T> Hand<'_, T> {
    pub(crate) fn over(&self, found: T) -> ControlFlow<()> {
        match self.enough.load(Relaxed) || self.sender.send(Ok(found)).is_err() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Whether nobody wants more.
    pub(crate) fn is_enough(&self) -> bool {
        self.enough.load(Relaxed)
    }
}

/// Lets `threads` threads `work` on the pieces; `take` gets all that is found in the first piece, then in the second, …
pub(crate) fn in_order<T: Send>(
    pieces: &[Piece],
    threads: usize,
    work: &(dyn Fn(&Piece, &Hand<'_, T>) -> io::Result<()> + Sync),
    take: &mut dyn FnMut(T) -> ControlFlow<()>,
) -> io::Result<()> {
    type Ends<T> = (Vec<Mutex<Option<SyncSender<io::Result<T>>>>>, Vec<Receiver<io::Result<T>>>);
    let channel = |_: &Piece| {
        let (sender, receiver) = sync_channel(WAITING);
        (Mutex::new(Some(sender)), receiver)
    };
    let (senders, receivers): Ends<T> = pieces.iter().map(channel).unzip();
    let (next, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || {
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(piece) = pieces.get(number).filter(|_| !enough.load(Relaxed)) else { return };
            let Some(sender) = senders[number].lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let hand = Hand { sender, enough: &enough };
            if let Err(error) = work(piece, &hand) {
                // Whoever takes has enough, or is told.
                let _enough = hand.sender.send(Err(error));
            }
        }
    };
    std::thread::scope(|scope| {
        // The pieces are begun in order, so the one that is waited for is always being worked on.
        let handles: Vec<_> = (0..threads.clamp(1, pieces.len().max(1)))
            .map(|_| std::thread::Builder::new().name("records-read".into()).spawn_scoped(scope, worker))
            .collect();
        if handles.iter().all(Result::is_err) {
            return Err(io::Error::other("no thread can be started"));
        }
        let mut taken = Ok(());
        'taking: for receiver in receivers {
            while let Ok(found) = receiver.recv() {
                match found.map(&mut *take) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => break 'taking,
                    Err(error) => {
                        taken = Err(error);
                        break 'taking;
                    }
                }
            }
        }
        // What is left of the receivers is gone here: a thread that waits to hand something over goes on, and ends.
        enough.store(true, Relaxed);
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(count: usize) -> Vec<Piece> {
        (0..count).map(|number| Piece::Sealed(number.to_string().into())).collect()
    }

    fn number(piece: &Piece) -> usize {
        let Piece::Sealed(path) = piece else { panic!() };
        path.to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn findings_come_in_the_order_of_the_pieces() {
        for threads in [1, 2, 7] {
            let mut taken = Vec::new();
            let work = |piece: &Piece, hand: &Hand<'_, (usize, usize)>| {
                for part in 0..10 {
                    if hand.over((number(piece), part)).is_break() {
                        return Ok(());
                    }
                }
                Ok(())
            };
            in_order(&pieces(50), threads, &work, &mut |found| {
                taken.push(found);
                ControlFlow::Continue(())
            })
            .unwrap();
            let expected: Vec<_> = (0..50).flat_map(|piece| (0..10).map(move |part| (piece, part))).collect();
            assert_eq!(taken, expected, "{threads}");
        }
    }

    #[test]
    fn enough_ends_those_who_wait_to_hand_over_and_an_error_is_told() {
        let endless = |piece: &Piece, hand: &Hand<'_, usize>| {
            while hand.over(number(piece)).is_continue() {}
            Ok(())
        };
        let mut left = 100;
        in_order(&pieces(8), 3, &endless, &mut |found| {
            assert_eq!(found, 0);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        let failing = |piece: &Piece, hand: &Hand<'_, usize>| {
            let _enough = hand.over(number(piece));
            if number(piece) == 2 { Err(io::Error::other("broken")) } else { Ok(()) }
        };
        let mut taken = Vec::new();
        let error = in_order(&pieces(8), 3, &failing, &mut |found| {
            taken.push(found);
            ControlFlow::Continue(())
        });
        assert_eq!((error.unwrap_err().to_string().as_str(), taken), ("broken", vec![0, 1, 2]));
        in_order(&[], 3, &failing, &mut |_| ControlFlow::Continue(())).unwrap();
    }
}
