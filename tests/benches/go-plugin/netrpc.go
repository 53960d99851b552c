package main

import (
	"net/rpc"

	"github.com/hashicorp/go-plugin"
)

// The same over net/rpc, go-plugin's older protocol.
type rpcPlugin struct{}

func (*rpcPlugin) Server(*plugin.MuxBroker) (interface{}, error) { return &rpcServer{echo{}}, nil }

func (*rpcPlugin) Client(_ *plugin.MuxBroker, client *rpc.Client) (interface{}, error) {
	return &rpcEchoer{client}, nil
}

type rpcServer struct{ implementation Echoer }

func (server *rpcServer) Echo(body []byte, out *[]byte) (err error) {
	*out, err = server.implementation.Echo(body)
	return err
}

type rpcEchoer struct{ client *rpc.Client }

func (client *rpcEchoer) Echo(body []byte) (out []byte, err error) {
	err = client.client.Call("Plugin.Echo", body, &out)
	return out, err
}
