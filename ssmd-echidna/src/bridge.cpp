#include "bridge.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "ssmd-echidna/src/ffi.rs.h"

namespace ssmd::echidna {

namespace {

// libechidna names connections by their descriptor. Ours has none here, so it has this name.
constexpr int CONNECTION = 1;
// What libechidna can hold of what is to be written.
constexpr size_t WRITE_BYTES_MAX = 64 * 1024;

// The true length of a part: BipBuf gives its negative where the ring has wrapped to its very beginning.
size_t length_of(const struct iovec& part) {
  return part.iov_len <= WRITE_BYTES_MAX ? part.iov_len : ~part.iov_len + 1;
}

}  // namespace

void Lent::give(const char* bytes, uint64_t length) {
  bytes_ = bytes;
  length_ = length;
  offset_ = 0;
}

// What is to be read was given already.
int Lent::Readv(int, const std::function<int(int, const struct iovec*, int)>&) { return 0; }

// libechidna pushes what was glued to an answer. Nothing is: the answer is given alone.
bool Lent::Push(const char*, uint64_t) { return false; }

bool Lent::Peak(uint64_t offset, char& byte) const {
  if (offset >= Available()) return false;
  byte = bytes_[offset_ + offset];
  return true;
}

bool Lent::Pop(char* into, uint64_t length) {
  if (length > Available()) return false;
  std::memcpy(into, bytes_ + offset_, length);
  offset_ += length;
  return true;
}

// The copy of a ping, into 1,024 bytes of libechidna's.
bool Lent::Pop(char* into, uint64_t offset, uint64_t length) {
  if (length > 1024 || offset > length_ || length > length_ - offset) return false;
  std::memcpy(into, bytes_ + offset, length);
  return true;
}

bool Lent::Skip(uint64_t length) {
  if (length > Available()) return false;
  offset_ += length;
  return true;
}

// What is lent is not ours to change, and a server masks nothing.
bool Lent::Unmask(uint64_t, uint64_t, const char*, int) { return false; }

WebSocket::WebSocket()
    : lent_(std::make_shared<Lent>()), manager_(&words_, [](int) { return 0; }) {
  const bool registered = manager_.RegisterConnection(
      CONNECTION, false,
      [this](int, const struct iovec* into, int count) { return read(into, count); },
      [this](int, const struct iovec* from, int count) { return write(from, count); },
      [this](int) { open_ = true; },
      [this](uint64_t offset, uint64_t length) {
        if (texts_ != nullptr) texts_->push_back(Text{offset, length});
      },
      lent_, nullptr);
  if (!registered) throw std::runtime_error("libechidna takes no connection: " + words_.last());
}

// libechidna reads the answer of the handshake here.
int WebSocket::read(const struct iovec* into, int count) {
  size_t taken = 0;
  for (int i = 0; i < count && taken < answer_.size(); ++i) {
    const size_t length = std::min(into[i].iov_len, answer_.size() - taken);
    std::memcpy(into[i].iov_base, answer_.data() + taken, length);
    taken += length;
  }
  answer_ = {};
  return static_cast<int>(taken);
}

int WebSocket::write(const struct iovec* from, int count) {
  size_t written = 0;
  for (int i = 0; i < count; ++i) {
    const auto* bytes = static_cast<const uint8_t*>(from[i].iov_base);
    const size_t length = length_of(from[i]);
    out_->reserve(out_->size() + length);
    for (size_t at = 0; at < length; ++at) out_->push_back(bytes[at]);
    written += length;
  }
  return static_cast<int>(written);
}

void WebSocket::flush(rust::Vec<uint8_t>& out) {
  out_ = &out;
  while (manager_.Write(CONNECTION) > 0) {
  }
  out_ = nullptr;
}

bool WebSocket::request(rust::Str path, rust::Str host, rust::Str origin, rust::Vec<uint8_t>& out) {
  const bool asked =
      manager_.Stream(CONNECTION, std::string(path), std::string(host), std::string(origin));
  if (asked) flush(out);
  return asked;
}

bool WebSocket::answer(rust::Slice<const uint8_t> answer) {
  answer_ = answer;
  const int read = manager_.Read(CONNECTION);
  answer_ = {};
  return read >= 0 && open_;
}

bool WebSocket::frames(rust::Slice<const uint8_t> frames, rust::Vec<Text>& texts,
                       rust::Vec<uint8_t>& out) {
  texts_ = &texts;
  lent_->give(reinterpret_cast<const char*>(frames.data()), frames.size());
  const int read = manager_.Read(CONNECTION);
  const bool all = read >= 0 && lent_->Available() == 0;
  lent_->take_back();
  texts_ = nullptr;
  flush(out);
  return all;
}

bool WebSocket::send(uint8_t opcode, rust::Slice<const uint8_t> payload, rust::Vec<uint8_t>& out) {
  if (payload.size() > WRITE_BYTES_MAX / 2) return false;
  const auto code = static_cast<coypu::http::websocket::WSOPCode>(opcode);
  const bool queued = manager_.Queue(CONNECTION, code, reinterpret_cast<const char*>(payload.data()),
                                     payload.size());
  flush(out);
  return queued;
}

rust::String WebSocket::complaint() const { return rust::String::lossy(words_.last()); }

Events::Events(int connection, int wake)
    : manager_(&words_), connection_(::fcntl(connection, F_DUPFD_CLOEXEC, 3)), wake_(wake) {
  if (connection_ < 0) throw std::system_error(errno, std::generic_category(), "duplicate");
  if (manager_.Init() != 0) {
    const int error = errno;
    ::close(connection_);
    throw std::system_error(error, std::generic_category(), "watch");
  }
  // No callback returns less than zero, so what the manager closes has ended.
  const int watched = manager_.Register(
      connection_, [this](int) { return readable_ = true, 0; },
      [this](int) { return writable_ = true, 0; }, [this](int) { return ended_ = true, 0; });
  const int waking = manager_.Register(
      wake_,
      [this](int fd) {
        uint64_t count = 0;
        woken_ = ::read(fd, &count, sizeof(count)) == sizeof(count);
        return 0;
      },
      nullptr, nullptr);
  if (watched != 0 || waking != 0) {
    ::close(connection_);
    manager_.Close();
    throw std::runtime_error("libechidna watches no connection: " + words_.last());
  }
}

Events::~Events() {
  if (!ended_) {
    manager_.Unregister(connection_);
    ::close(connection_);
  }
  manager_.Unregister(wake_);
  manager_.Close();
}

Ready Events::wait() {
  readable_ = writable_ = woken_ = false;
  const int count = manager_.Wait();
  if (count < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "wait");
  return Ready{readable_, writable_, ended_, woken_};
}

void Events::want_write() {
  if (!ended_) manager_.SetWrite(connection_);
}

std::unique_ptr<WebSocket> new_websocket() { return std::make_unique<WebSocket>(); }

std::unique_ptr<Events> new_events(int32_t connection, int32_t wake, int32_t& error) {
  try {
    return std::make_unique<Events>(connection, wake);
  } catch (const std::system_error& thrown) {
    error = thrown.code().value();
    return nullptr;
  }
}

int32_t connect(rust::Str address, uint16_t port) {
  errno = 0;
  const int fd = coypu::tcp::TCPHelper::ConnectStream(std::string(address).c_str(), port);
  if (fd < 0) return errno == 0 ? -EHOSTUNREACH : -errno;
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || coypu::tcp::TCPHelper::SetNoDelay(fd) != 0) {
    const int error = errno;
    ::close(fd);
    return -error;
  }
  return fd;
}

int32_t new_event() {
  const int fd = coypu::event::EventFDHelper::CreateNonBlockEventFD(O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

bool socket_pair(int32_t& one, int32_t& other) {
  int pair[2] = {-1, -1};
  if (coypu::tcp::TCPHelper::CreateUnixSocketPairNonBlock(pair) != 0) return false;
  ::fcntl(pair[0], F_SETFD, FD_CLOEXEC);
  ::fcntl(pair[1], F_SETFD, FD_CLOEXEC);
  one = pair[0];
  other = pair[1];
  return true;
}

int64_t read_some(int32_t connection, uint8_t* into, size_t length) {
  const ssize_t count = ::read(connection, into, length);
  return count < 0 ? -static_cast<int64_t>(errno) : static_cast<int64_t>(count);
}

}  // namespace ssmd::echidna
