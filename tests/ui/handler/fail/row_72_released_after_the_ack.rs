use tidings::transport::Received;

fn settle(received: Received) {
    received.ack();
    received.release();
}

fn main() {}
