use tidings::Bus;

fn main() {
    let kafka = tidings::kafka::Kafka::new("localhost:9092");
    let _ = Bus::builder("order-service").transport(kafka);
}
