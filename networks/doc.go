// Package networks asks EC2 which VPC subnets and security groups are in. It
// knows EC2's query protocol; which questions a VpcConfig raises, and what AWS
// says when their answers don't go together, is control's.
//
// A walk: CreateFunction names a security group and a subnet; control calls
// [EC2.SecurityGroups] and then [EC2.Subnets], each of which signs and posts one
// form and reads the VPC of each identifier out of the XML. EC2's refusals come
// back as *lamina.NetworkError, in EC2's own words.
package networks
