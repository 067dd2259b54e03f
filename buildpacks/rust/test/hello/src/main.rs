//! Answers every request with a number that a dependency has formatted.
use std::io::{Read, Write};

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "5000".into());
    let listener = std::net::TcpListener::bind(format!("0.0.0.0:{port}"))?;
    loop {
        let (mut client, _) = listener.accept()?;
        let mut request = [0; 4096];
        let _ = client.read(&mut request)?;
        let body = format!("hello {}\n", itoa::Buffer::new().format(42));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        client.write_all((head + &body).as_bytes())?;
    }
}
