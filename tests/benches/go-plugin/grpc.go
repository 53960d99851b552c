package main

import (
	"context"
	"time"

	"github.com/golang/protobuf/ptypes/wrappers"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// The service by hand, as protoc-gen-go-grpc would write it. Its messages are protobuf's own wrappers, which come generated:
// `message BytesValue { bytes value = 1; }`.
var service = grpc.ServiceDesc{
	ServiceName: "capstan.bench.Echo",
	HandlerType: (*Echoer)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Echo", Handler: handleEcho},
		{MethodName: "Sleep", Handler: handleSleep},
	},
}

func handleEcho(server interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(wrappers.BytesValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	body, err := server.(Echoer).Echo(in.Value)
	return &wrappers.BytesValue{Value: body}, err
}

// Sleeps so many nanoseconds and does not look at its context: a plugin that sleeps through cancel.
func handleSleep(_ interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(wrappers.Int64Value)
	if err := decode(in); err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(in.Value))
	return in, nil
}

type grpcPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (*grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	server.RegisterService(&service, echo{})
	return nil
}

func (*grpcPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, connection *grpc.ClientConn) (interface{}, error) {
	return &grpcEchoer{connection}, nil
}

type grpcEchoer struct{ connection *grpc.ClientConn }

func (client *grpcEchoer) Echo(body []byte) ([]byte, error) {
	out := new(wrappers.BytesValue)
	err := client.connection.Invoke(context.Background(), "/capstan.bench.Echo/Echo", &wrappers.BytesValue{Value: body}, out)
	return out.Value, err
}

func (client *grpcEchoer) sleep(deadline, length time.Duration) error {
	limited, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	in := &wrappers.Int64Value{Value: int64(length)}
	return client.connection.Invoke(limited, "/capstan.bench.Echo/Sleep", in, new(wrappers.Int64Value))
}
