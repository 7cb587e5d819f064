use tidings::Event;

#[derive(Event)]
#[event(name = "bits", version = 1)]
#[repr(C)]
union Bits {
    int: u32,
    float: f32,
}

fn main() {}
