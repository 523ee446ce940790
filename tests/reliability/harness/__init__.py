"""What the reliability tests share: a scripted server, network namespaces, measuring, figures."""
