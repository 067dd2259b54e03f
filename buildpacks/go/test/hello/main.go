// A server that uses a vendored module. Without net/http, which takes long to compile.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"example.com/greeting"
)

func main() {
	listener, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	body := greeting.Of("from " + runtime.Version())
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go answer(connection, body)
	}
}

func answer(connection net.Conn, body string) {
	defer connection.Close()
	if _, err := connection.Read(make([]byte, 4096)); err == nil {
		fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	}
}
