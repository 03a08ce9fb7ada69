//! Sources that ask a name server.

use super::*;

/// A name server over UDP and TCP. `answer` gets the response to a question, fills it in, and returns whether it is sent.
async fn name_server(
    answer: impl Fn(&mut Message, bool) -> bool + Send + Sync + 'static,
) -> SocketAddr {
    let answer = Arc::new(answer);
    // A port that is free for UDP may be taken for TCP.
    let (udp, tcp, address) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        if let Ok(tcp) = TcpListener::bind(address).await {
            break (udp, tcp, address);
        }
    };
    let made = move |bytes: &[u8], tcp: bool| {
        let mut message = Message::from_vec(bytes).unwrap().into_response();
        answer(&mut message, tcp).then(|| message.to_vec().unwrap())
    };
    let over_tcp = made.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            if let Some(bytes) = made(&buffer[..length], false) {
                udp.send_to(&bytes, client).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut bytes).await.unwrap();
            if let Some(bytes) = over_tcp(&bytes, true) {
                stream
                    .write_u16(bytes.len().try_into().unwrap())
                    .await
                    .unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        }
    });
    address
}

fn address(message: &mut Message, last: u8) {
    let name = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(
        name,
        60,
        RData::A(rdata::A([10, 0, 0, last].into())),
    ));
}

fn dns(kind: &str, server: SocketAddr, more: &str) -> String {
    format!("kind='{kind}'\nlookup='s3.test'\nnameserver='{server}'\n{more}")
}

#[tokio::test]
async fn every_response_code_but_noerror_is_a_failure_and_noerror_without_an_address_is_not() {
    for (code, words) in [
        (ResponseCode::ServFail, "Server Failure"),
        (ResponseCode::NXDomain, "Non-Existent Domain"),
        (ResponseCode::Refused, "Query Refused"),
        (ResponseCode::NotImp, "Not Implemented"),
    ] {
        for kind in ["dns", "srv"] {
            // Even when there is an answer beside the error code.
            let server = name_server(move |message, _| {
                address(message, 1);
                message.metadata.response_code = code;
                true
            });
            fails(&dns(kind, server.await, ""), words).await;
        }
    }
    for kind in ["dns", "srv"] {
        let empty = name_server(|_, _| true).await;
        assert_eq!(ask(&dns(kind, empty, "")).await, Ok(vec![]));
        let silent = name_server(|_, _| false).await;
        fails(&dns(kind, silent, ""), "no answer within").await;
        let closed = UdpSocket::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        fails(&dns(kind, closed, ""), "refused").await;
    }
}

#[tokio::test]
async fn a_truncated_dns_answer_is_queried_again_over_tcp_and_tcp_can_be_configured() {
    let server = name_server(|message, tcp| {
        address(message, if tcp { 2 } else { 1 });
        message.metadata.truncation = !tcp;
        true
    })
    .await;
    assert_eq!(
        ask(&dns("dns", server, "port=7480")).await,
        Ok(vec!["10.0.0.2:7480".into()])
    );
    let server = name_server(|message, tcp| {
        address(message, 3);
        tcp
    });
    assert_eq!(
        ask(&dns("dns", server.await, "transport='tcp'")).await,
        Ok(vec!["10.0.0.3:80".into()])
    );
}

#[tokio::test]
async fn an_srv_target_that_is_an_address_or_a_number_is_not_queried_in_dns() {
    let (asked, target) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Mutex::new(String::new())),
    );
    let (counted, named) = (Arc::clone(&asked), Arc::clone(&target));
    let server = name_server(move |message, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        let target = Name::from_ascii(&*named.lock().unwrap()).unwrap();
        let name = message.queries[0].name().clone();
        let data = RData::SRV(rdata::SRV::new(1, 1, 7480, target));
        message.add_answer(Record::from_rdata(name, 60, data));
        true
    });
    let server = server.await;
    let literal = |name: &str| format!("kind='dns'\nlookup='{name}'\nnameserver='{server}'");
    assert_eq!(
        ask(&literal("10.0.0.1")).await,
        Ok(vec!["10.0.0.1:80".into()])
    );
    fails(&literal("10.1"), "10.1 is a number, not a name").await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    for (number, name) in (1..).zip(["10.0.0.1.", "7.", "host.0x7f."]) {
        target.lock().unwrap().clone_from(&name.to_owned());
        fails(&dns("srv", server, ""), "not a name").await;
        // The only question was the one for the service.
        assert_eq!(asked.load(Ordering::Relaxed), number, "{name}");
    }
}

#[tokio::test]
async fn a_source_waits_for_its_turn_among_queries_before_its_timeout_begins() {
    let server = name_server(|message, _| {
        address(message, 4);
        true
    });
    let mut asker = asker(&dns("dns", server.await, ""));
    let all = crate::names::resolve::every_turn().await;
    let early = timeout(Duration::from_millis(600), asker.ask()).await;
    assert!(early.is_err(), "{early:?}");
    drop(all);
    assert_eq!(described(&asker.ask().await.unwrap()), ["10.0.0.4:80"]);
}
