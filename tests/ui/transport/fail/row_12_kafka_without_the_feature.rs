use tidings::Bus;
use tidings::kafka::Kafka;

async fn open() -> Result<Bus, tidings::BuildError> {
    let kafka = Kafka::new("localhost:9092").partitions(12);
    Bus::builder("order-service").transport(kafka).build().await
}

fn main() {}
