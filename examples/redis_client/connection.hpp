// A connection to Redis: hiredis does the talking, io::readiness() the waiting.
#ifndef TOADSTONE_EXAMPLES_REDIS_CLIENT_CONNECTION_HPP
#define TOADSTONE_EXAMPLES_REDIS_CLIENT_CONNECTION_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <hiredis/hiredis.h>

namespace redis {

using toadstone::task;
namespace io = toadstone::io;

/// What the server says: also its refusals, which leave the connection as good as before.
struct reply {
    explicit reply(const redisReply& from) : refused(from.type == REDIS_REPLY_ERROR) {
        if (from.type == REDIS_REPLY_INTEGER) text = std::to_string(from.integer);
        if (from.type == REDIS_REPLY_NIL) text = "(nil)";
        if (from.str) text.assign(from.str, from.len);
        for (std::size_t i = 0; i < from.elements; ++i) {
            text += (i ? " " : "") + reply(*from.element[i]).text;
        }
    }
    bool refused;
    std::string text;
};

/// One command at a time, to its end: one that was given up leaves its answer in the
/// connection, for the next one to take for its own. So it belongs into a sync::mutex, which
/// knows when that happens. Errors: std::runtime_error with what hiredis says; the connection
/// is of no use afterwards.
class connection {
public:
    static task<connection> connect(std::string host, int port) {
        connection made(redisConnectNonBlock(host.c_str(), port));
        made.check("connect");
        co_await io::readiness(made.context_->fd, io::events::writable);
        co_return made;
    }

    task<reply> command(std::vector<std::string> words) {
        std::vector<const char*> texts;
        std::vector<std::size_t> lengths;
        for (const std::string& each : words) texts.push_back(each.data());
        for (const std::string& each : words) lengths.push_back(each.size());
        const auto count = static_cast<int>(words.size());
        redisAppendCommandArgv(context_.get(), count, texts.data(), lengths.data());
        for (int sent = 0; !sent;) {
            redisBufferWrite(context_.get(), &sent);
            check("send");
            if (!sent) co_await io::readiness(context_->fd, io::events::writable);
        }
        void* raw = nullptr;
        while (!raw) {
            co_await io::readiness(context_->fd, io::events::readable);
            redisBufferRead(context_.get());
            check("receive");
            redisGetReplyFromReader(context_.get(), &raw);
            check("understand");
        }
        const std::unique_ptr<void, void (*)(void*)> found(raw, freeReplyObject);
        co_return reply(*static_cast<const redisReply*>(raw));
    }

private:
    explicit connection(redisContext* context) : context_(context, redisFree) {
        if (!context) throw std::bad_alloc();
    }
    void check(const char* doing) const {
        if (context_->err == 0) return;
        throw std::runtime_error(std::string("redis: ") + doing + ": " + context_->errstr);
    }

    std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
};

} // namespace redis

#endif
