//! contract: P6, R5

use tidings_envelope::{HeaderError, Headers};

#[test]
fn the_bus_has_an_allowance_of_its_own() {
    let mut headers = Headers::new();
    headers.push("user", vec![0; 96]);
    assert_eq!(headers.check(100), Ok(()));
    headers.push("tidings-reason", vec![0; 4096]);
    assert_eq!(headers.check(100), Ok(()));
    headers.push("tidings-more", vec![0; 5000]);
    assert!(matches!(
        headers.check(100),
        Err(HeaderError::TooLarge { .. })
    ));

    let mut users = Headers::new();
    users.push("user", vec![0; 97]);
    assert_eq!(
        users.check(100),
        Err(HeaderError::TooLarge {
            size: 101,
            limit: 100
        })
    );
}
