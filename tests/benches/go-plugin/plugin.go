package main

import (
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// What both sides must agree on; a plugin started by hand says so and ends.
var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "CAPSTAN_BENCH", MagicCookieValue: "echo"}

const name = "echo"

// Echoer is what the plugin offers.
type Echoer interface {
	Echo(body []byte) ([]byte, error)
}

type echo struct{}

func (echo) Echo(body []byte) ([]byte, error) { return body, nil }

// The plugin's side, until its host ends it.
func serve(protocol string) {
	config := &plugin.ServeConfig{HandshakeConfig: handshake, Logger: hclog.NewNullLogger()}
	if protocol == "grpc" {
		config.Plugins = plugin.PluginSet{name: &grpcPlugin{}}
		config.GRPCServer = plugin.DefaultGRPCServer
	} else {
		config.Plugins = plugin.PluginSet{name: &rpcPlugin{}}
	}
	plugin.Serve(config)
}

// The host's side: starts a plugin that is ready when this returns, its health asked for.
func start(protocol string) (*plugin.Client, Echoer) {
	program, err := os.Executable()
	must(err)
	config := &plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          plugin.PluginSet{name: &grpcPlugin{}},
		Cmd:              exec.Command(program, "plugin", protocol),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
	}
	if protocol != "grpc" {
		config.Plugins = plugin.PluginSet{name: &rpcPlugin{}}
		config.AllowedProtocols = []plugin.Protocol{plugin.ProtocolNetRPC}
	}
	client := plugin.NewClient(config)
	connection, err := client.Client()
	must(err)
	must(connection.Ping())
	dispensed, err := connection.Dispense(name)
	must(err)
	return client, dispensed.(Echoer)
}
