// What web pages of others may make a browser ask of this server: nothing that changes it, and
// nothing that they could read.
#ifndef TOADSTONE_EXAMPLES_HTTP_BROWSER_HPP
#define TOADSTONE_EXAMPLES_HTTP_BROWSER_HPP

#include "limits.hpp"
#include "message.hpp"

namespace http {

/// A web page can make a browser send requests to this machine, and, once its own name leads
/// here (DNS rebinding), read the answers. Then the name in the Host header is the page's.
///
/// Errors: error, for a request that names a host which is not this one.
void check_host(const limits& chosen, const request& from);

/// For requests that change something. Forms, which browsers send anywhere without asking,
/// cannot say application/json, and scripts say where they come from.
///
/// Errors: error, for a script of another page, and for a body that is not JSON.
void check_change(const request& from);
/// The first half of it, for requests of other types that a form cannot send, as PUT.
void check_origin(const request& from);

} // namespace http

#endif
