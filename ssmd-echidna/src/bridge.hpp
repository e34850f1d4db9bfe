// libechidna's templates with the types that ssmd gives them. One object of each class belongs to one connection
// and is used by one thread at a time; nothing here calls into Rust, and nothing keeps memory of Rust's for longer
// than the call that lent it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <echidna/event_mgr.hpp>
#include <echidna/tcp.hpp>
#include <echidna/websocket.hpp>

#include "rust/cxx.h"

namespace ssmd::echidna {

struct Text;
struct Ready;

// What libechidna logs to. The last complaint is kept, for the error that follows from it.
class Words {
 public:
  template <typename... T>
  void debug(T&&...) {}
  template <typename... T>
  void info(T&&...) {}
  template <typename... T>
  void warn(const char* format, T&&...) {
    last_ = format;
  }
  template <typename... T>
  void error(const char* format, T&&...) {
    last_ = format;
  }
  const std::string& last() const { return last_; }

 private:
  std::string last_;
};

// The stream that libechidna reads frames from: the bytes that are lent to it right now.
class Lent {
 public:
  void give(const char* bytes, uint64_t length);
  void take_back() { give(nullptr, 0); }
  int Readv(int fd, const std::function<int(int, const struct iovec*, int)>& read);
  bool Push(const char* bytes, uint64_t length);
  uint64_t Available() const { return length_ - offset_; }
  uint64_t CurrentOffset() const { return offset_; }
  bool Peak(uint64_t offset, char& byte) const;
  bool Pop(char* into, uint64_t length);
  bool Pop(char* into, uint64_t offset, uint64_t length);
  bool Skip(uint64_t length);
  bool Unmask(uint64_t offset, uint64_t length, const char* mask, int mask_length);

 private:
  const char* bytes_ = nullptr;
  uint64_t length_ = 0;
  uint64_t offset_ = 0;
};

// libechidna can publish one stream to many connections. Ours never do.
struct Nothing {
  uint64_t Available(int) { return 0; }
  bool IsEmpty(int) { return true; }
  int Writev(uint64_t, int, const std::function<int(int, const struct iovec*, int)>&) { return 0; }
};

// libechidna's WebSocketManager with one connection, which reads and writes memory.
class WebSocket {
 public:
  WebSocket();
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  // Writes the request of the handshake to `out`.
  bool request(rust::Str path, rust::Str host, rust::Str origin, rust::Vec<uint8_t>& out);
  // Reads the whole answer; whether the connection is open after it.
  bool answer(rust::Slice<const uint8_t> answer);
  // Reads whole frames. Where texts are goes to `texts`, pongs go to `out`. False if not all of it was read.
  bool frames(rust::Slice<const uint8_t> frames, rust::Vec<Text>& texts, rust::Vec<uint8_t>& out);
  // Writes a frame to `out`. False if libechidna has no room for it: above `sendable()`.
  bool send(uint8_t opcode, rust::Slice<const uint8_t> payload, rust::Vec<uint8_t>& out);
  // What libechidna complained about last.
  rust::String complaint() const;

 private:
  using Manager = coypu::http::websocket::WebSocketManager<Words*, Lent, Nothing>;

  int read(const struct iovec* into, int count);
  int write(const struct iovec* from, int count);
  void flush(rust::Vec<uint8_t>& out);

  Words words_;
  std::shared_ptr<Lent> lent_;
  rust::Slice<const uint8_t> answer_;
  rust::Vec<Text>* texts_ = nullptr;
  rust::Vec<uint8_t>* out_ = nullptr;
  bool open_ = false;
  Manager manager_;
};

// libechidna's EventManager with one connection, and an event by which other threads wake it.
class Events {
 public:
  // Watches a duplicate of `connection`: the EventManager closes what has ended, before anybody can read the rest.
  Events(int connection, int wake);
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  // Waits for a second at most.
  Ready wait();
  // Has the next `wait` return as soon as the connection takes bytes.
  void want_write();

 private:
  Words words_;
  coypu::event::EventManager<Words*> manager_;
  int connection_;
  int wake_;
  bool readable_ = false;
  bool writable_ = false;
  bool ended_ = false;
  bool woken_ = false;
};

std::unique_ptr<WebSocket> new_websocket();
// Nothing, and an errno, where the system has no room for it.
std::unique_ptr<Events> new_events(int32_t connection, int32_t wake, int32_t& error);
// A connection to an address, made by libechidna. Blocks. Below zero: an errno, negated.
int32_t connect(rust::Str address, uint16_t port);
// An event that threads wake each other by; below zero: an errno, negated.
int32_t new_event();
// Two ends of a pipe that does not block, by libechidna.
bool socket_pair(int32_t& one, int32_t& other);
// Reads what is there into memory that may be uninitialised. Below zero: an errno, negated.
int64_t read_some(int32_t connection, uint8_t* into, size_t length);

}  // namespace ssmd::echidna
