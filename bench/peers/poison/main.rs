//! The rows of bench_poison in Rust: std::sync::Mutex, which poisons, and parking_lot's, which
//! does not. `peers_poison --only SUBJECT --count N [--timed]`, as the benches in C++.
use std::arch::asm;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

struct Subject {
    group: &'static str,
    name: &'static str,
    run: fn(u64) -> Duration,
}

const SECTION: &str = "a section, nobody else wants the lock";
const TWO: &str = "a section, two threads or workers want the lock; wall clock";
const CUT: &str = "a section cut by an exception that leaves its task, and cleared";
const POISONED: &str = "poisoned data";

#[rustfmt::skip]
const SUBJECTS: [Subject; 8] = [
    Subject { group: SECTION, name: "Rust std::sync::Mutex", run: section_std },
    Subject { group: SECTION, name: "Rust parking_lot::Mutex", run: section_parking_lot },
    Subject { group: TWO, name: "two, Rust std::sync::Mutex", run: two_std },
    Subject { group: TWO, name: "two, Rust parking_lot::Mutex", run: two_parking_lot },
    Subject { group: CUT, name: "exception, Rust, no lock", run: panic_alone },
    Subject { group: CUT, name: "exception, Rust std::sync::Mutex", run: panic_std },
    Subject { group: CUT, name: "exception, Rust parking_lot::Mutex", run: panic_parking_lot },
    Subject { group: POISONED, name: "Rust std::sync::Mutex, into_inner()", run: poisoned_std },
];

// So that the work is not optimised away.
fn keep(value: &mut i32) {
    unsafe { asm!("/* {0} */", in(reg) value, options(nostack, preserves_flags)) }
}

// Processor time, as the other benches, where one thread does the work.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn timed(work: impl FnOnce()) -> Duration {
    let used = processor_time();
    work();
    processor_time() - used
}

fn section_std(n: u64) -> Duration {
    let mutex = std::sync::Mutex::new(0);
    timed(|| {
        for _ in 0..n {
            let mut hold = mutex.lock().unwrap();
            *hold += 1;
            keep(&mut hold);
        }
    })
}

fn section_parking_lot(n: u64) -> Duration {
    let mutex = parking_lot::Mutex::new(0);
    timed(|| {
        for _ in 0..n {
            let mut hold = mutex.lock();
            *hold += 1;
            keep(&mut hold);
        }
    })
}

fn two(n: u64, section: impl Fn() + Sync) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..n / 2).for_each(|_| section()));
        }
    });
    begun.elapsed()
}

fn two_std(n: u64) -> Duration {
    let mutex = std::sync::Mutex::new(0);
    two(n, || {
        let mut hold = mutex.lock().unwrap();
        *hold += 1;
        keep(&mut hold);
    })
}

fn two_parking_lot(n: u64) -> Duration {
    let mutex = parking_lot::Mutex::new(0);
    two(n, || {
        let mut hold = mutex.lock();
        *hold += 1;
        keep(&mut hold);
    })
}

// A panic without its hook, which would print, is what a throw is in C++. What `enter` gives is
// dropped by the panic.
fn cut<Held>(enter: impl Fn() -> Held) {
    let cut = catch_unwind(AssertUnwindSafe(|| {
        let _held = enter();
        resume_unwind(Box::new(()))
    }));
    let _: Result<(), _> = cut;
}

fn panic_alone(n: u64) -> Duration {
    timed(|| (0..n).for_each(|_| cut(|| ())))
}

fn panic_std(n: u64) -> Duration {
    let mutex = std::sync::Mutex::new(0);
    let enter = || {
        // Poisoned from the first on: Debian 12's Rust cannot clear it.
        let mut hold = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        *hold += 1;
        keep(&mut hold);
        hold
    };
    timed(|| (0..n).for_each(|_| cut(enter)))
}

fn panic_parking_lot(n: u64) -> Duration {
    let mutex = parking_lot::Mutex::new(0);
    let enter = || {
        let mut hold = mutex.lock();
        *hold += 1;
        keep(&mut hold);
        hold
    };
    timed(|| (0..n).for_each(|_| cut(enter)))
}

fn poisoned_std(n: u64) -> Duration {
    let mutex = std::sync::Mutex::new(0);
    cut(|| mutex.lock());
    timed(|| {
        for _ in 0..n {
            let mut hold = mutex.lock().unwrap_or_else(PoisonError::into_inner);
            *hold += 1;
            keep(&mut hold);
        }
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|each| each == name)?;
        arguments.get(at + 1)
    };
    let only = value("--only");
    let count: Option<u64> = value("--count").and_then(|text| text.parse().ok());
    let subject = SUBJECTS.iter().find(|each| Some(each.name) == only.map(String::as_str));
    match (subject, count) {
        (Some(subject), Some(count)) => {
            let warm = arguments.iter().any(|each| each == "--timed");
            if warm {
                (subject.run)(count / 10 + 1);
            }
            let took = (subject.run)(count);
            if warm {
                println!("{:.3}", took.as_nanos() as f64 / count as f64);
            }
        }
        _ => {
            eprintln!("peers_poison --only SUBJECT --count N [--timed], of these:");
            for each in &SUBJECTS {
                eprintln!("  {}: {}", each.group, each.name);
            }
            std::process::exit(2);
        }
    }
}
