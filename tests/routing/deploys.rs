//! Ten thousand requests through ten deploys: none fails, and none reaches another app.

use lathe_tests::{Platform, request_on, until};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(2);
const REQUESTS: usize = 10_000;
const DEPLOYS: usize = 10;
const CLIENTS: usize = 6;

/// Says whose it is and of which deploy, and closes its connections now and then.
const WEB: &str = "\
import asyncio, os
body = f\"{os.environ['NAME']} {os.environ.get('DEPLOY', '0')}\".encode()
head = f'HTTP/1.1 200 OK\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n'.encode()
async def serve(reader, writer):
    try:
        for _ in range(50):
            await reader.readuntil(b'\\r\\n\\r\\n')
            writer.write(head + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, '0.0.0.0', int(os.environ['PORT']))
    await server.serve_forever()
asyncio.run(main())
";

fn deploy(platform: &Platform, app: &str, number: usize) {
    let vars = json!({"DEPLOY": number.to_string(), "NAME": app});
    assert_eq!(platform.api("PATCH", &format!("/apps/{app}/config-vars"), &vars).0, 200);
}

/// Which deploy of it answers.
fn serving(platform: &Platform, app: &str) -> usize {
    let answer = platform.app(app, "/");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let (name, number) = answer.body.split_once(' ').unwrap();
    assert_eq!(name, app);
    number.parse().unwrap()
}

#[test]
fn ten_thousand_requests_through_ten_deploys_all_reach_their_app() {
    let platform = Platform::start();
    for app in ["left", "right"] {
        platform.post("/apps", &json!({"name": app}));
        deploy(&platform, app, 0);
        platform.release(app, &json!({"web": "python3 web.py"}), &[("web.py", WEB)]);
        until("it serves", BOUND, || (platform.app(app, "/").status == 200).then_some(()));
    }
    let scale = json!({"updates": [{"type": "web", "quantity": 2}]});
    assert_eq!(platform.api("PATCH", "/apps/left/formation", &scale).0, 200);
    let (asked, deployed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let router = platform.address("router");
    let failures = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (asked, deployed) = (&asked, &deployed);
                let app = if client % 3 == 0 { "right" } else { "left" };
                scope.spawn(move || {
                    let mut wrong = Vec::new();
                    while !deployed.load(Ordering::Relaxed)
                        || asked.load(Ordering::Relaxed) < REQUESTS
                    {
                        let host = format!("{app}.localhost");
                        let answer = TcpStream::connect(router)
                            .ok()
                            .and_then(|stream| request_on(stream, "GET", &host, "/", &[], b""));
                        asked.fetch_add(1, Ordering::Relaxed);
                        if !answer.as_ref().is_some_and(|answer| {
                            answer.status == 200 && answer.body.starts_with(app)
                        }) {
                            wrong.push(format!("{app}: {answer:?}"));
                        }
                    }
                    wrong
                })
            })
            .collect();
        for number in 1..=DEPLOYS {
            // Both at once: what one gives up is what the other may be given.
            deploy(&platform, "right", number);
            deploy(&platform, "left", number);
            for app in ["left", "right"] {
                until("the deploy serves", BOUND, || {
                    (serving(&platform, app) == number).then_some(())
                });
            }
        }
        deployed.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(failures.is_empty(), "{} of {asked:?}: {:?}", failures.len(), failures.first());
    let (_, releases) = platform.api("GET", "/apps/left/releases", &Value::Null);
    let failed = releases.as_array().unwrap().iter().filter(|r| r["status"] == "failed").count();
    assert_eq!(failed, 0);
}
