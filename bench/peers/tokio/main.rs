//! The same in Tokio: `peers_tokio SUBJECT COUNT` prints the ns per operation.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, Mutex, RwLock};

// So that the work is not optimised away.
static RESULT: AtomicU64 = AtomicU64::new(0);

// Processor time, as the other benches, where one thread does the work.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

async fn lock(n: u64) -> u64 {
    let mutex = Mutex::new(0u64);
    for _ in 0..n {
        *mutex.lock().await += 1;
    }
    let sum = *mutex.lock().await;
    sum
}

async fn read(n: u64) -> u64 {
    let lock = RwLock::new(1u64);
    let mut sum = 0;
    for _ in 0..n {
        sum += *lock.read().await;
    }
    sum
}

async fn channel(n: u64) -> u64 {
    let (tx, mut rx) = mpsc::channel(64);
    let mut sum = 0;
    for i in 0..n {
        tx.send(i).await.unwrap();
        sum += rx.recv().await.unwrap();
    }
    sum
}

async fn one_message(n: u64) -> u64 {
    let mut sum = 0;
    for i in 0..n {
        let (tx, rx) = oneshot::channel();
        tx.send(i).unwrap();
        sum += rx.await.unwrap();
    }
    sum
}

async fn stream(n: u64) -> u64 {
    let (tx, mut rx) = mpsc::channel(64);
    let consumer = tokio::spawn(async move {
        let mut sum = 0u64;
        while let Some(each) = rx.recv().await {
            sum += each;
        }
        sum
    });
    let producer = tokio::spawn(async move {
        for i in 0..n {
            tx.send(i).await.unwrap();
        }
    });
    producer.await.unwrap();
    consumer.await.unwrap()
}

async fn spawn_join(n: u64) -> u64 {
    let mut sum = 0;
    for i in 0..n {
        sum += tokio::spawn(async move { i }).await.unwrap();
    }
    sum
}

async fn run(subject: &str, n: u64) -> u64 {
    match subject {
        "lock" => lock(n).await,
        "read" => read(n).await,
        "channel" => channel(n).await,
        "oneshot" => one_message(n).await,
        "stream" | "stream-across" => stream(n).await,
        "spawn" => spawn_join(n).await,
        _ => {
            eprintln!("there is no subject {subject}");
            std::process::exit(2)
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() != 3 {
        eprintln!("peers_tokio SUBJECT COUNT");
        std::process::exit(2);
    }
    let subject = arguments[1].as_str();
    let count: u64 = arguments[2].parse().unwrap();
    let across = subject.ends_with("-across");
    let runtime = if across {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()
    } else {
        tokio::runtime::Builder::new_current_thread().build()
    }
    .unwrap();
    runtime.block_on(async {
        RESULT.store(run(subject, count / 10 + 1000).await, Ordering::Relaxed);
        let begun = Instant::now();
        let used = processor_time();
        RESULT.store(run(subject, count).await, Ordering::Relaxed);
        let took = if across { begun.elapsed() } else { processor_time() - used };
        println!("{:.3}", took.as_nanos() as f64 / count as f64);
    });
}
