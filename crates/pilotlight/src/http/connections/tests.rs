//! Who gives way to whom.

use super::*;

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

async fn enter(connections: &Connections, address: &str) -> Place {
    let socket = connections.room().await.unwrap();
    connections.enter(address.parse().unwrap(), socket)
}

fn is_open(place: &Place) -> bool {
    !place.closed().is_cancelled()
}

/// Four places for unauthenticated, twelve for those who are known, eight of these for streams.
fn sixteen() -> Connections {
    Connections::new(16)
}

#[tokio::test]
async fn the_oldest_stranger_goes_for_a_newcomer() {
    let connections = sixteen();
    let mut unauthenticated = Vec::new();
    for _ in 0..4 {
        unauthenticated.push(enter(&connections, A).await);
    }
    assert!(unauthenticated.iter().all(is_open));
    unauthenticated.push(enter(&connections, A).await);
    assert_eq!(unauthenticated.iter().map(is_open).collect::<Vec<_>>(), [false, true, true, true, true]);
    drop(unauthenticated.remove(1));
    unauthenticated.push(enter(&connections, A).await);
    assert_eq!(
        unauthenticated.iter().filter(|place| is_open(place)).count(),
        4,
        "a place that was left is taken"
    );
}

#[tokio::test]
async fn an_address_with_many_drops_its_own() {
    let connections = sixteen();
    let one = enter(&connections, B).await;
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(enter(&connections, A).await);
        many.retain(is_open);
    }
    assert!(is_open(&one));
    assert_eq!(many.len(), 3);
}

#[tokio::test]
async fn who_is_idle_goes_before_who_is_still_asking() {
    let connections = sixteen();
    let asking = enter(&connections, A).await;
    let request = asking.seat().asks();
    let beginning = enter(&connections, A).await;
    let idle = enter(&connections, B).await;
    drop(idle.seat().asks());
    let later = enter(&connections, A).await;
    let mut newcomers = vec![enter(&connections, A).await];
    assert!(!is_open(&idle) && is_open(&beginning) && is_open(&asking) && is_open(&later));
    newcomers.push(enter(&connections, A).await);
    assert!(!is_open(&beginning) && is_open(&asking));
    for _ in 0..20 {
        newcomers.push(enter(&connections, A).await);
        newcomers.retain(is_open);
    }
    assert!(is_open(&asking), "a request that is answered is finished");
    drop(request);
}

#[tokio::test]
async fn who_asks_slowly_is_in_nobodys_way() {
    let connections = sixteen();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let place = enter(&connections, A).await;
        slow.push((place.seat().asks(), place));
    }
    let past = Instant::now().checked_sub(UNAUTHENTICATED_ANSWER).expect("the machine is up for longer");
    connections.table().entries.values_mut().for_each(|entry| entry.since = past);
    let newcomers = [enter(&connections, A).await, enter(&connections, A).await];
    assert!(newcomers.iter().all(is_open), "they do not drop each other");
    assert_eq!(slow.iter().filter(|(_, place)| is_open(place)).count(), 2);
}

#[tokio::test]
async fn strangers_never_take_the_places_of_those_who_are_known() {
    let connections = sixteen();
    let mut known = Vec::new();
    for _ in 0..12 {
        let place = enter(&connections, A).await;
        place.seat().recognise(connections.generation()).unwrap();
        known.push((place.seat().asks(), place));
    }
    let mut unauthenticated = Vec::new();
    for _ in 0..100 {
        unauthenticated.push(enter(&connections, A).await);
        unauthenticated.retain(is_open);
    }
    assert!(known.iter().all(|(_, place)| is_open(place)));
    let newcomer = enter(&connections, A).await;
    assert_eq!(newcomer.seat().recognise(connections.generation()), Err(Crowded::Full));
    // One that is idle makes room.
    let (asking, idle) = known.remove(5);
    drop(asking);
    newcomer.seat().recognise(connections.generation()).unwrap();
    assert!(!is_open(&idle) && is_open(&newcomer));
    assert!(known.iter().all(|(_, place)| is_open(place)));
}

#[tokio::test]
async fn streams_leave_places_for_others() {
    let connections = sixteen();
    let mut streams = Vec::new();
    for _ in 0..8 {
        let place = enter(&connections, A).await;
        place.seat().recognise(connections.generation()).unwrap();
        let asking = place.seat().asks();
        assert!(place.seat().may_stream());
        place.seat().stream().unwrap();
        streams.push((asking, place));
    }
    let place = enter(&connections, A).await;
    place.seat().recognise(connections.generation()).unwrap();
    assert!(!place.seat().may_stream());
    assert_eq!(place.seat().stream(), Err(Crowded::Streams));
    // A stream that has ended leaves an ordinary connection; one that became a WebSocket lasts as long as it.
    let (asking, ended) = streams.pop().unwrap();
    drop(asking);
    place.seat().stream().unwrap();
    assert!(is_open(&ended));
    let (asking, socket) = streams.pop().unwrap();
    asking.for_good();
    assert!(!place.seat().may_stream());
    drop(socket);
    assert!(place.seat().may_stream());
}

#[tokio::test]
async fn a_new_token_makes_strangers_of_all() {
    let connections = sixteen();
    let generation = connections.generation();
    let (client, stream) = (enter(&connections, A).await, enter(&connections, A).await);
    client.seat().recognise(generation).unwrap();
    stream.seat().recognise(generation).unwrap();
    stream.seat().stream().unwrap();
    connections.forget_all();
    assert!(is_open(&client) && !is_open(&stream));
    assert_eq!(client.seat().stream(), Err(Crowded::Forgotten));
    let late = enter(&connections, A).await;
    assert_eq!(late.seat().recognise(generation), Err(Crowded::Forgotten), "it was shown before");
    late.seat().recognise(connections.generation()).unwrap();
}

#[tokio::test]
async fn strangers_have_little_time() {
    let connections = sixteen();
    let (stranger, client, asking) =
        (enter(&connections, A).await, enter(&connections, A).await, enter(&connections, A).await);
    client.seat().recognise(connections.generation()).unwrap();
    let request = asking.seat().asks();
    connections.drop_late(Instant::now());
    assert!(is_open(&stranger));
    connections.drop_late(Instant::now() + UNAUTHENTICATED_TIMEOUT);
    assert!(!is_open(&stranger) && is_open(&client) && is_open(&asking));
    drop(request);
    connections.drop_late(Instant::now() + UNAUTHENTICATED_TIMEOUT);
    assert!(!is_open(&asking));
}

#[test]
fn a_household_is_one_client() {
    let client = |text: &str| client_of(text.parse().unwrap());
    assert_eq!(client("2001:db8:1:2:3::4"), client("2001:db8:1:2:ffff::"));
    assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
}

#[test]
fn there_are_places_of_each_kind_however_few_there_are() {
    for all in [0, 1, 8, 16, 100, 2048, usize::MAX] {
        let Places { unauthenticated, known, streams } = Places::among(all);
        assert!(
            unauthenticated >= MIN_PLACES && known >= MIN_PLACES && streams >= 1 && streams < known,
            "{all}"
        );
        assert!(unauthenticated + known <= MAX_CONNECTIONS);
    }
}
