// Table of contents: everything public of io/.
#ifndef TOADSTONE_IO_HPP
#define TOADSTONE_IO_HPP

#endif // TOADSTONE_IO_HPP
