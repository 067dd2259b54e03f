# A server with nothing but the standard library and one gem.
require "greeting"
require "socket"

$stdout.sync = true
server = TCPServer.new("0.0.0.0", Integer(ENV.fetch("PORT")))
loop do
  Thread.new(server.accept) do |client|
    nil until client.gets.to_s.strip.empty?
    body = Greeting.of("from Ruby #{RUBY_VERSION}\n")
    client.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}")
    client.close
  end
end
