// Package nat answers one question: how does a function reach the world, and
// what of it?
//
// A sandbox has a network namespace of its own, so there is no way out but the
// one made here: a TUN device, whose packets the server reads. Nothing of the
// host's network configuration changes, and it needs no more rights than a
// sandbox does.
//
//	function                        server                                world
//	connect(1.2.3.4:443)
//	  SYN ---- TUN ----------------> may it? dial -----------------------> SYN
//	                                 answered: the SYN, readdressed to a listener
//	  SYN+ACK <--- TUN, TUN <------- inside, goes back in
//	  established                    accept on that listener; relay <----> established
//	sendto(1.2.3.4:443)
//	  datagram ---- TUN -----------> may it? a socket of its own --------> datagram
//	sendto([Gateway]:53)
//	  query ---- TUN --------------> the host's resolvers ---------------> query
//
// TCP is the kernel's on both sides: only addresses in packets are rewritten
// here, and bytes are moved by splice(2). A function's SYN is answered when the
// destination has answered the server's, so it sees refusals and delays as they are.
//
// [Router] knows what is allowed and is shared; [Way] is the one of one sandbox.
// Who makes the device and the listener inside is package sandbox's business.
package nat
