// Lets a client of graphql-ws resume after a lost connection. The client subscribes again with the variables that it
// was given: keep `after` in them at the last cursor. For `subscribe`, which urql, Apollo Client and Relay call.
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
