// Makes a client of graphql-ws go on where it was after a lost connection: it subscribes again with the variables it
// was given, so keep `after` in them at the last cursor. For `subscribe`, which urql, Apollo Client and Relay call.
export const resuming = (client) => ({
  ...client,
  subscribe(payload, sink) {
    const variables = { ...payload.variables };
    return client.subscribe({ ...payload, variables }, {
      next(result) {
        for (const batch of Object.values(result.data ?? {})) variables.after = batch?.cursor ?? variables.after;
        sink.next(result);
      },
      error: (error) => sink.error(error),
      complete: () => sink.complete(),
    });
  },
});
