use tidings::transport::Received;

fn settle(received: Received) {
    received.ack();
    received.ack();
}

fn main() {}
