use tidings::Bus;
use tidings::memory::Memory;

fn main() {
    let _ = Bus::builder("order-service").transport(Memory::new().queue(64));
}
