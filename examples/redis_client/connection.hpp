// A connection to Redis: hiredis does the talking, io::readiness() the waiting.
#ifndef TOADSTONE_EXAMPLES_REDIS_CLIENT_CONNECTION_HPP
#define TOADSTONE_EXAMPLES_REDIS_CLIENT_CONNECTION_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <hiredis/hiredis.h>

namespace redis {

using toadstone::task;
namespace io = toadstone::io;

/// What the server says: also its refusals, which leave the connection as good as before.
struct reply {
    reply() = default;
    explicit reply(const redisReply& from) : refused(from.type == REDIS_REPLY_ERROR) {
        switch (from.type) {
        case REDIS_REPLY_INTEGER:
            text = std::to_string(from.integer);
            break;
        case REDIS_REPLY_NIL:
            text = "(nil)";
            break;
        case REDIS_REPLY_ARRAY:
            for (std::size_t i = 0; i < from.elements; ++i) {
                text += (i ? " " : "") + reply(*from.element[i]).text;
            }
            break;
        default:
            text.assign(from.str, from.len);
        }
    }
    bool refused = false;
    std::string text;
};

/// One command at a time, to its end: one that was given up leaves its answer in the
/// connection, for the next one to take for its own. So it belongs into a sync::mutex, which
/// knows when that happens.
///
/// Errors: std::runtime_error with what hiredis says; the connection is of no use afterwards.
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
        for (const std::string& each : words) {
            texts.push_back(each.data());
            lengths.push_back(each.size());
        }
        redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), texts.data(),
                               lengths.data());
        co_await send();
        reply answer = co_await receive();
        co_return answer;
    }

private:
    struct frees {
        void operator()(redisContext* context) const noexcept { redisFree(context); }
        void operator()(redisReply* answer) const noexcept { freeReplyObject(answer); }
    };

    explicit connection(redisContext* context) : context_(context) {
        if (!context) throw std::bad_alloc();
    }

    task<> send() {
        for (int done = 0;;) {
            redisBufferWrite(context_.get(), &done);
            check("send");
            if (done) break;
            co_await io::readiness(context_->fd, io::events::writable);
        }
    }
    task<reply> receive() {
        std::unique_ptr<redisReply, frees> found;
        while (!found) {
            void* raw = nullptr;
            redisGetReplyFromReader(context_.get(), &raw);
            check("understand");
            found.reset(static_cast<redisReply*>(raw));
            if (found) break;
            co_await io::readiness(context_->fd, io::events::readable);
            redisBufferRead(context_.get());
            check("receive");
        }
        co_return reply(*found);
    }
    void check(const char* doing) const {
        if (context_->err == 0) return;
        throw std::runtime_error(std::string("redis: ") + doing + ": " + context_->errstr);
    }

    std::unique_ptr<redisContext, frees> context_;
};

} // namespace redis

#endif
