//! Two connections that hear the same, one of them through a wire that can be cut: what a user sees of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::rig::{json, output, until};
use crate::shares::World;

/// A way to the venue: every connection that came over it, those that are open, and their ends.
struct Wire {
    address: SocketAddr,
    carried: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(venue: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire =
            Self { address: listener.local_addr().unwrap(), carried: Arc::default(), open: Arc::default() };
        let (carried, open) = (Arc::clone(&wire.carried), Arc::clone(&wire.open));
        std::thread::spawn(move || {
            for recorder in listener.incoming().flatten() {
                let Ok(venue) = TcpStream::connect(venue) else { continue };
                carried.fetch_add(1, Ordering::SeqCst);
                open.lock().unwrap().push(recorder.try_clone().unwrap());
                for (from, to) in [(&recorder, &venue), (&venue, &recorder)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || carry(from, to));
                }
            }
        });
        wire
    }

    fn cut(&self) {
        for recorder in self.open.lock().unwrap().drain(..) {
            let _ = recorder.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[test]
fn every_second_connection_has_its_own_address_and_what_it_loses_is_no_gap_of_both() {
    let world = World::new("kraken", "BTC/USD,ETH/USD");
    let wire = Wire::to(world.venue());
    let twin = format!("twin_url: ws://{}", wire.address);
    world.declare(&format!(
        "channels: [book, trade]\n      symbols: [BTC/USD, ETH/USD]\n      redundancy: 3\n      {twin}"
    ));
    let up = world.start();
    world.until(&[(None, 2, 3)]);
    assert_eq!(wire.carried.load(Ordering::SeqCst), 1, "the second of three");
    let frames = |status: &serde_json::Value| status["feeds"][0]["frames"].as_u64().unwrap();
    let before = frames(&world.until(&[(None, 2, 3)]));
    until("frames of all", || (frames(&world.until(&[(None, 2, 3)])) > before + 300).then_some(()));
    wire.cut();
    until("it is back", || (wire.carried.load(Ordering::SeqCst) == 2).then_some(()));
    let status = world.until(&[(None, 2, 3)]);
    assert_eq!(status["feeds"][0]["reconnects"], 1, "{status}");
    let before = frames(&status);
    until("frames of all", || (frames(&world.until(&[(None, 2, 3)])) > before + 300).then_some(()));
    world.stop(up);

    let gaps = ["gaps", "--store", &world.store(), "--json"];
    let all = json(&gaps);
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    assert_eq!(all[0]["cause"], "disconnect", "{all}");
    let merged = json(&[&gaps[..], &["--merged"]].concat());
    assert_eq!(merged.as_array().unwrap().len(), 0, "the others heard it: {merged}");
    let opens = world.entries("open");
    let through =
        opens.iter().filter(|(_, open)| open["url"].as_str().unwrap().contains(&wire.address.to_string()));
    let numbers: Vec<_> = through.map(|(_, open)| open["twin"]["number"].as_u64().unwrap()).collect();
    assert_eq!((opens.len(), numbers), (4, vec![1, 1]), "{opens:?}");
    // Replayed, they are one stream: each trade once, in its order.
    for (symbol, numbers) in world.trades() {
        let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "{symbol}");
        assert!(numbers.len() > 10, "{symbol}: {numbers:?}");
    }
    let report = output(0, &["verify", "--store", &world.store(), "--json"]);
    assert!(report.contains("\"books_failed\":0"), "{report}");
}
